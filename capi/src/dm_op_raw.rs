// SPDX-License-Identifier: MIT OR Apache-2.0
//! Operations that `dm_op.rs` has no function for.

use libc::{c_int, c_void};
use xen_restrict::DM_OP_MAX_BUFFERS;

use crate::{
    arguments,
    failure::{Failure, Outcome},
    guard::guard,
    handle::hold,
    xr_guest,
};

/// One piece of memory of an operation.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct xr_buffer {
    /// Where it is; may be NULL where it has no bytes.
    pub data: *mut c_void,
    /// Its bytes.
    pub size: usize,
}

/// Hands buffers to Xen as they are, for operations that the library has no function for: the
/// first holds a `struct xen_dm_op` (Xen's public/hvm/dm_op.h). Xen writes into them, never
/// behind them. The guest is the handle's, whatever is in them; nothing else is looked at, and
/// Xen dies of some operations: see xr_ioreq_server_set_enabled() and
/// xr_guest_set_isa_irq_level(). A server that is created so is the caller's to destroy so.
///
/// Returns 0.
/// Errors: E2BIG: more than 16 buffers, or than Xen takes (2), or one larger than the parameter
/// `dm_op_buf_max_size` of xen-privcmd allows (4096); EINVAL: buffers overlap; EPERM, ESRCH,
/// ENXIO, EBADF, and Xen's own: EOPNOTSUPP for one that it does not know, EFAULT for a buffer
/// too small.
/// Threads: any; none may look at the buffers meanwhile.
/// Fork: usable.
/// Pointers: `buffers` leads to `count` of them, each to its bytes, which can be written.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn xr_guest_dm_op(
    guest: *mut xr_guest,
    buffers: *const xr_buffer,
    count: usize,
) -> c_int {
    guard(|| {
        let guest = hold(guest)?;
        // SAFETY: by this function's contract.
        let given = unsafe { arguments::slice(buffers, count, "buffers") }?;
        let mut list = [NOTHING; DM_OP_MAX_BUFFERS];
        let Some(list) = list.get_mut(..given.len()) else {
            let text = format!("{count} buffers, of at most {DM_OP_MAX_BUFFERS}");
            return Err(Failure::new(libc::E2BIG, text));
        };
        // Their list could lie in one of them.
        list.copy_from_slice(given);
        apart(list)?;
        let mut bytes: [&mut [u8]; DM_OP_MAX_BUFFERS] = std::array::from_fn(|_| &mut [][..]);
        for (to, xr_buffer { data, size }) in bytes.iter_mut().zip(&*list) {
            // SAFETY: by this function's contract; no byte is another's too.
            *to = unsafe { arguments::slice_mut(data.cast::<u8>(), *size, "a buffer") }?;
        }
        guest.0.dm_op_raw(&mut bytes[..list.len()])?;
        Ok(0)
    })
}

const NOTHING: xr_buffer = xr_buffer {
    data: std::ptr::null_mut(),
    size: 0,
};

/// That no byte is written under two names.
fn apart(buffers: &[xr_buffer]) -> Outcome<()> {
    let before = |one: &xr_buffer, other: &xr_buffer| {
        let end = one.data.addr().checked_add(one.size);
        end.is_some_and(|end| end <= other.data.addr())
    };
    for (at, one) in buffers.iter().enumerate() {
        for other in &buffers[..at] {
            let nothing = one.size == 0 || other.size == 0;
            if !nothing && !before(one, other) && !before(other, one) {
                return Err(Failure::argument("two of the buffers overlap"));
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn buffer(address: usize, size: usize) -> xr_buffer {
        let data = std::ptr::without_provenance_mut(address);
        xr_buffer { data, size }
    }

    #[test]
    fn buffers_that_share_a_byte_are_refused() {
        for (one, other, share) in [
            ((8, 8), (16, 8), false),
            ((8, 9), (16, 8), true),
            ((8, 8), (8, 8), true),
            ((8, 8), (10, 2), true),
            ((8, 8), (10, 0), false),
            ((usize::MAX - 1, 1), (8, 8), false),
            ((8, usize::MAX), (1, 2), false),
        ] {
            let (one, other) = (buffer(one.0, one.1), buffer(other.0, other.1));
            for pair in [[one, NOTHING, other], [other, one, NOTHING]] {
                assert_eq!(apart(&pair).is_err(), share, "{pair:?}");
            }
        }
    }
}
