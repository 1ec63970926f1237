// SPDX-License-Identifier: MIT OR Apache-2.0
//! Hypercalls, on the unrestricted privcmd handle only, and memory that Xen
//! can be pointed at.

use std::{fs::File, os::fd::AsFd};

use nix::sys::mman::mlock;
use xen_sys::{hvm_op, hypercall, privcmd, version};
use zerocopy::{FromBytes, Immutable, IntoBytes};

use crate::{
    device::Device,
    error::{Cause, Error, Result},
    ids::GuestId,
    ioctl,
    memory::SharedMemory,
    mmap::{Access, Mmap, PAGE_SIZE},
    privcmd::PrivCmd,
    state::Unrestricted,
};

/// Memory that stays where it is while Xen uses it.
///
/// It comes from `/dev/xen/hypercall` (Linux 4.18), whose pages the kernel
/// never moves; where that is missing it is locked memory, which is not
/// inherited by a child.
#[derive(Debug)]
pub struct HypercallBuffer(SharedMemory);

impl HypercallBuffer {
    fn new(bytes: usize) -> Result<Self> {
        let failed = |errno| {
            Error::new(
                "make a hypercall buffer",
                Device::PrivCmd,
                Cause::errno(errno),
            )
        };
        let pages = bytes.div_ceil(PAGE_SIZE);
        let node = File::options()
            .read(true)
            .write(true)
            .open("/dev/xen/hypercall");
        let map = match node {
            Ok(node) => Mmap::of(node.as_fd(), pages, Access::ReadWrite, 0)
                .and_then(Mmap::keep_from_children)
                .map_err(failed)?,
            Err(_) => {
                let map = Mmap::anonymous(pages).map_err(failed)?;
                // SAFETY: the range is this mapping's; locking changes no byte.
                unsafe { mlock(map.start().cast(), map.len()) }.map_err(failed)?;
                map
            }
        };
        Ok(Self(SharedMemory::whole(map)))
    }

    /// Its address, for the argument of a hypercall.
    #[must_use]
    pub fn address(&self) -> u64 {
        self.0.map().start().as_ptr().expose_provenance() as u64
    }

    /// Its bytes.
    #[must_use]
    pub fn memory(&self) -> &SharedMemory {
        &self.0
    }
}

impl PrivCmd<Unrestricted> {
    /// Makes a zeroed buffer of at least `bytes`.
    ///
    /// # Errors
    /// The kernel's own: `ENOMEM`, or `EINVAL` for 0 bytes.
    pub fn hypercall_buffer(&self, bytes: usize) -> Result<HypercallBuffer> {
        HypercallBuffer::new(bytes)
    }

    /// Issues a hypercall and returns its result (`IOCTL_PRIVCMD_HYPERCALL`).
    ///
    /// # Safety
    /// Xen does what it is asked, to this process, to dom0 and to every guest.
    /// Addresses in `arguments` must point to [`HypercallBuffer`]s of the size
    /// that the operation uses.
    ///
    /// # Errors
    /// [`Cause::NoSuchDomain`], [`Cause::Restricted`] and [`Cause::Revoked`]
    /// where `restrict_all` took the power away, and Xen's own.
    pub unsafe fn hypercall(&self, number: u64, arguments: [u64; 5]) -> Result<i64> {
        let mut request = privcmd::Hypercall {
            op: number,
            arg: arguments,
        };
        let handle = self.handle();
        let _pass = handle.pass();
        // SAFETY: by this function's contract.
        unsafe { ioctl::raw_long(handle.as_fd(), privcmd::HYPERCALL, &mut request) }
            .map_err(|e| handle.failed("hypercall", None, e))
    }

    /// Xen's version, major and minor.
    ///
    /// # Errors
    /// As [`hypercall`](Self::hypercall).
    pub fn xen_version(&self) -> Result<(u16, u16)> {
        let arguments = [u64::from(version::VERSION), 0, 0, 0, 0];
        // SAFETY: XENVER_version reads and writes no memory.
        let version = unsafe { self.hypercall(hypercall::XEN_VERSION, arguments) }?;
        let half = |bits: i64| u16::try_from(bits & 0xffff).unwrap_or_default();
        Ok((half(version >> 16), half(version)))
    }

    /// A parameter of an HVM or PVH guest (`HVM_PARAM_*` of Xen's
    /// `public/hvm/params.h`).
    ///
    /// # Errors
    /// As [`hypercall`](Self::hypercall), and `EINVAL` for an index that is none.
    pub fn hvm_param(&self, guest: GuestId, index: u32) -> Result<u64> {
        Ok(self.hvm_op(guest, hvm_op::GET_PARAM, index, 0)?.value)
    }

    /// Sets a parameter of an HVM or PVH guest.
    ///
    /// # Errors
    /// As [`hvm_param`](Self::hvm_param).
    pub fn set_hvm_param(&self, guest: GuestId, index: u32, value: u64) -> Result<()> {
        self.hvm_op(guest, hvm_op::SET_PARAM, index, value)
            .map(drop)
    }

    fn hvm_op(
        &self,
        guest: GuestId,
        operation: u32,
        index: u32,
        value: u64,
    ) -> Result<hvm_op::HvmParam> {
        let param = hvm_op::HvmParam {
            domid: guest.get(),
            index,
            value,
            ..hvm_op::HvmParam::default()
        };
        // SAFETY: both operations take this struct, and it holds no address.
        unsafe { self.with_argument(hypercall::HVM_OP, operation, param) }
            .map_err(|e| e.for_guest(guest))
    }

    /// Issues `number(operation, &argument)` and returns what Xen left there.
    ///
    /// # Safety
    /// `T` is the operation's argument, and the addresses in it are
    /// [`HypercallBuffer`]s'.
    unsafe fn with_argument<T: FromBytes + IntoBytes + Immutable>(
        &self,
        number: u64,
        operation: u32,
        argument: T,
    ) -> Result<T> {
        let access = |e| Error::new("hypercall", Device::PrivCmd, Cause::Access(e));
        let buffer = self.hypercall_buffer(size_of::<T>())?;
        buffer.memory().set(0, &argument).map_err(access)?;
        let arguments = [u64::from(operation), buffer.address(), 0, 0, 0];
        // SAFETY: by this function's contract; the buffer has room for a `T`.
        unsafe { self.hypercall(number, arguments) }?;
        buffer.memory().get(0).map_err(access)
    }
}
