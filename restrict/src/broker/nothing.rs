// SPDX-License-Identifier: MIT OR Apache-2.0
//! A kernel that says yes and does nothing: what is left is the broker's own.

use std::time::Duration;

use nix::errno::Errno;
use xen_sys::gntdev::{GrantCopySegment, UnmapNotifyAction};

use super::devices::Driver;
use crate::{ids::GuestId, mmap::Access};

#[derive(Debug, Default)]
pub(crate) struct Nothing {
    next: u64,
    released: u32,
}

impl Driver for Nothing {
    type Pages = ();

    fn map(&mut self, _: GuestId, grants: &[u32]) -> Result<u64, Errno> {
        self.next += 4096 * grants.len() as u64;
        Ok(self.next)
    }

    fn unmap(&mut self, _: u64, _: u32) -> Result<(), Errno> {
        Ok(())
    }

    fn mmap(&mut self, _: u64, _: Access) -> Result<(), Errno> {
        Ok(())
    }

    fn notify(&mut self, _: u64, _: UnmapNotifyAction, port: u32) -> Result<(), Errno> {
        self.released |= 1_u32.checked_shl(port).unwrap_or(0);
        Ok(())
    }

    unsafe fn copy(&mut self, segments: &mut [GrantCopySegment]) -> Result<(), Errno> {
        segments.iter_mut().for_each(|segment| segment.status = 0);
        Ok(())
    }

    fn send(&self, _: u32) -> Result<(), Errno> {
        Ok(())
    }

    fn slot_port(&self, slot: usize) -> u32 {
        u32::try_from(slot).unwrap_or(u32::MAX)
    }

    fn released(&mut self) -> u32 {
        std::mem::take(&mut self.released)
    }

    fn wait_for_release(&mut self, _: Duration) -> u32 {
        self.released()
    }
}
