// SPDX-License-Identifier: MIT OR Apache-2.0
//! Event channels in a tokio program (feature `tokio`).

use std::os::fd::{AsFd, AsRawFd, RawFd};

use nix::{
    errno::Errno,
    sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags},
};
use tokio::io::{Interest, unix::AsyncFd};

use crate::{
    device::Device,
    error::{Cause, Error, Result},
    evtchn::EventChannel,
    ids::Port,
    state::State,
};

/// An event channel handle whose pending ports are awaited.
///
/// Binding and unmasking go through [`get_ref`](Self::get_ref); they do not
/// block.
#[derive(Debug)]
pub struct AsyncEventChannel<S: State> {
    channel: EventChannel<S>,
    ready: AsyncFd<Ready>,
}

/// Readable when the handle is, or when it was revoked. Revocation puts another
/// file behind the handle's number, which tokio does not allow; this number
/// keeps its file.
#[derive(Debug)]
struct Ready(Epoll);

impl AsRawFd for Ready {
    fn as_raw_fd(&self) -> RawFd {
        self.0.0.as_raw_fd()
    }
}

impl<S: State> AsyncEventChannel<S> {
    /// Makes the handle non-blocking and registers it with the runtime.
    ///
    /// # Errors
    /// The kernel's own.
    ///
    /// # Panics
    /// Outside a tokio runtime with its I/O driver enabled, as
    /// [`AsyncFd::new`] does.
    pub fn new(channel: EventChannel<S>) -> Result<Self> {
        let failed = |cause| Error::new("register with tokio", Device::EventChannel, cause);
        if channel.is_revoked() {
            return Err(failed(Cause::Revoked));
        }
        channel.set_nonblocking(true)?;
        let ready = watch(&channel).map_err(|errno| failed(Cause::errno(errno)))?;
        // SAFETY: the epoll descriptor is owned by the `AsyncFd`, which only
        // lends it: its number and file stay until it is dropped.
        let ready = unsafe { AsyncFd::register_with_interest(ready, Interest::READABLE) };
        let ready = ready.map_err(|error| failed(Cause::Kernel(error.into())))?;
        Ok(Self { channel, ready })
    }

    /// Waits until ports are pending and takes them, as
    /// [`EventChannel::pending`] does. Cancel safe: no port is lost.
    ///
    /// # Errors
    /// As [`EventChannel::pending`]; [`Cause::Revoked`] also while waiting.
    pub async fn pending<'a>(&self, into: &'a mut [Port]) -> Result<&'a [Port]> {
        let failed = |e| Error::new("wait for a port", Device::EventChannel, Cause::Kernel(e));
        let count = loop {
            // The guard first: what arrives after an empty read is not missed.
            let mut ready = self.ready.readable().await.map_err(failed)?;
            match self.channel.pending(into)?.len() {
                0 if !into.is_empty() => ready.clear_ready(),
                count => break count,
            }
        };
        Ok(&into[..count])
    }

    /// The handle itself.
    #[must_use]
    pub fn get_ref(&self) -> &EventChannel<S> {
        &self.channel
    }
}

fn watch<S: State>(channel: &EventChannel<S>) -> Result<Ready, Errno> {
    let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
    for fd in [channel.as_fd(), channel.bell()?] {
        epoll.add(fd, EpollEvent::new(EpollFlags::EPOLLIN, 0))?;
    }
    Ok(Ready(epoll))
}
