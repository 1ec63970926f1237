// SPDX-License-Identifier: MIT OR Apache-2.0
//! Event channels in a tokio program (feature `tokio`).

use std::os::fd::{AsRawFd, RawFd};

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
/// block. A task that waits while the handle is revoked is not woken.
#[derive(Debug)]
pub struct AsyncEventChannel<S: State>(AsyncFd<Source<S>>);

#[derive(Debug)]
struct Source<S: State>(EventChannel<S>);

impl<S: State> AsRawFd for Source<S> {
    fn as_raw_fd(&self) -> RawFd {
        std::os::fd::AsFd::as_fd(&self.0).as_raw_fd()
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
        channel.set_nonblocking(true)?;
        // SAFETY: the channel is owned by the `AsyncFd`, which only lends it,
        // and its number stays open, and the same, until it is dropped.
        let registered =
            unsafe { AsyncFd::register_with_interest(Source(channel), Interest::READABLE) };
        registered.map(Self).map_err(|error| {
            let cause = Cause::Kernel(error.into());
            Error::new("register with tokio", Device::EventChannel, cause)
        })
    }

    /// Waits until ports are pending and takes them, as
    /// [`EventChannel::pending`] does. Cancel safe: no port is lost.
    ///
    /// # Errors
    /// As [`EventChannel::pending`].
    pub async fn pending<'a>(&self, into: &'a mut [Port]) -> Result<&'a [Port]> {
        let count = loop {
            let ready = self.0.readable().await;
            let failed = |e| Error::new("wait for a port", Device::EventChannel, Cause::Kernel(e));
            let mut ready = ready.map_err(failed)?;
            match ready.get_inner().0.pending(into)?.len() {
                0 if !into.is_empty() => ready.clear_ready(),
                count => break count,
            }
        };
        Ok(&into[..count])
    }

    /// The handle itself.
    #[must_use]
    pub fn get_ref(&self) -> &EventChannel<S> {
        &self.0.get_ref().0
    }
}
