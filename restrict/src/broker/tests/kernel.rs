// SPDX-License-Identifier: MIT OR Apache-2.0
//! A kernel for the broker: gntdev, the process's event channels, and its guest's pages.
//! What the broker may never ask for fails the test.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use nix::errno::Errno;
use xen_sys::{
    gntdev::{GrantCopyFlags, GrantCopyPtr, GrantCopySegment, UnmapNotifyAction},
    grant_table::{GNTST_BAD_GNTREF, GNTST_OKAY},
};

use super::{
    super::{
        devices::{Driver, SLOTS},
        message::{COPY_BYTES, MAX_GRANTS},
    },
    GUEST,
};
use crate::{
    ids::GuestId,
    mmap::{Access, Mmap, PAGE_SIZE},
    shared,
};

/// The guest grants the references below.
pub(super) const GRANTED: u32 = 16;
/// Of the first slot.
const SLOT_PORT: u32 = 1000;

/// What both the broker and the test have.
#[derive(Clone)]
pub(super) struct Fake(Arc<Mutex<Kernel>>);

pub(super) struct Kernel {
    /// By index.
    pub(super) maps: BTreeMap<u64, Pages>,
    /// Without an index, and mapped by the process.
    pub(super) lingering: Vec<Pages>,
    /// Bound by the process.
    pub(super) ports: BTreeSet<u32>,
    /// The process lets go of it while the driver is asked to send by it.
    pub(super) lost_meanwhile: Option<u32>,
    /// The broker, or the driver for it, sent by these.
    pub(super) sent: Vec<u32>,
    /// Bytes that the driver cleared: grant, and offset in its page.
    pub(super) cleared: Vec<(u32, u64)>,
    /// What the next map fails with.
    pub(super) fails: Option<Errno>,
    /// Releases are only told to who waits.
    pub(super) slow: bool,
    pub(super) waits: u32,
    /// So many waits end, and the kernel has not told yet.
    pub(super) slept: u32,
    /// The process unmaps at the end of each wait, which takes all of its time.
    pub(super) dribbles: bool,
    released: u32,
    pub(super) granted: Vec<Vec<u8>>,
    /// Segments of each copy.
    pub(super) copies: Vec<usize>,
    /// Start of the memory for copies.
    memory: u64,
}

#[derive(Clone, Default)]
pub(super) struct Pages {
    pub(super) grants: Vec<u32>,
    pub(super) is_mapped: bool,
    /// By the broker: to read, or to write as well.
    pub(super) held: Option<Access>,
    pub(super) sends: Option<u32>,
    pub(super) clears: Option<u64>,
}

impl Pages {
    pub(super) fn count(&self) -> u32 {
        u32::try_from(self.grants.len()).unwrap()
    }
}

/// The broker's mapping of an index.
pub(super) struct Held {
    kernel: Fake,
    index: u64,
}

impl std::fmt::Debug for Held {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:#x}", self.index)
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let mut kernel = self.kernel.lock();
        let pages = kernel.maps.get_mut(&self.index).expect("given back later");
        assert!(pages.held.take().is_some());
    }
}

impl Fake {
    pub(super) fn new(memory: &Mmap) -> Self {
        let granted = (0..).map(|n| vec![n; PAGE_SIZE]);
        Self(Arc::new(Mutex::new(Kernel {
            maps: BTreeMap::new(),
            lingering: Vec::new(),
            ports: BTreeSet::new(),
            lost_meanwhile: None,
            sent: Vec::new(),
            cleared: Vec::new(),
            fails: None,
            slow: false,
            waits: 0,
            slept: 0,
            dribbles: false,
            released: 0,
            granted: granted.take(GRANTED as usize).collect(),
            copies: Vec::new(),
            memory: memory.address(),
        })))
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Kernel> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Kernel {
    /// Of all indices that the process was given, and those that linger.
    pub(super) fn pages(&self) -> u32 {
        let given = self.maps.values().filter(|pages| pages.held.is_none());
        given.chain(&self.lingering).map(Pages::count).sum()
    }

    /// The bell of an index: the only one there is.
    pub(super) fn bell(&self) -> Option<&Pages> {
        let mut bells = self.maps.values().filter(|pages| pages.held.is_some());
        let bell = bells.next();
        assert!(bells.next().is_none());
        bell
    }

    /// The process's mmap.
    pub(super) fn mmap(&mut self, index: u64) {
        self.maps.get_mut(&index).unwrap().is_mapped = true;
    }

    /// The process's munmap of pages whose index was given back: the oldest.
    pub(super) fn munmap_lingering(&mut self) {
        if !self.lingering.is_empty() {
            let pages = self.lingering.remove(0);
            self.gone(pages);
        }
    }

    fn gone(&mut self, pages: Pages) {
        assert!(pages.held.is_none());
        self.cleared
            .extend(pages.clears.map(|offset| (pages.grants[0], offset)));
        match pages.sends {
            Some(port) if port >= SLOT_PORT => self.released |= 1 << (port - SLOT_PORT),
            port => self.sent.extend(port),
        }
    }

    fn place(&self, place: GrantCopyPtr, is_granted: bool, length: usize) -> Option<*mut u8> {
        if !is_granted {
            let offset = place.as_local().checked_sub(self.memory).unwrap();
            assert!(offset + length as u64 <= COPY_BYTES as u64, "{place:?}");
            return Some(std::ptr::with_exposed_provenance_mut(
                usize::try_from(place.as_local()).unwrap(),
            ));
        }
        let (reference, offset, domid) = place.as_foreign();
        assert_eq!(domid, GUEST.get());
        assert!(usize::from(offset) + length <= PAGE_SIZE, "{place:?}");
        let page = self.granted.get(reference as usize)?;
        Some(page.as_ptr().cast_mut().wrapping_add(offset.into()))
    }
}

impl Driver for Fake {
    type Pages = Held;

    fn map(&mut self, guest: GuestId, grants: &[u32]) -> Result<u64, Errno> {
        assert_eq!(guest, GUEST);
        assert!((1..=MAX_GRANTS).contains(&grants.len()));
        let mut kernel = self.lock();
        kernel.fails.take().map_or(Ok(()), Err)?;
        let count = u32::try_from(grants.len()).unwrap();
        let bytes = u64::from(count) * PAGE_SIZE as u64;
        // As gntdev: the first gap that is larger.
        let mut index = 0;
        for (next, pages) in &kernel.maps {
            if index + bytes < *next {
                break;
            }
            index = next + u64::from(pages.count()) * PAGE_SIZE as u64;
        }
        let pages = Pages {
            grants: grants.to_vec(),
            ..Pages::default()
        };
        assert!(kernel.maps.insert(index, pages).is_none());
        Ok(index)
    }

    fn unmap(&mut self, index: u64, count: u32) -> Result<(), Errno> {
        let mut kernel = self.lock();
        let pages = kernel.maps.remove(&index).expect("an index that it made");
        assert_eq!(pages.count(), count);
        match pages.is_mapped {
            true => kernel.lingering.push(pages),
            false => kernel.gone(pages),
        }
        Ok(())
    }

    fn mmap(&mut self, index: u64, access: Access) -> Result<Held, Errno> {
        let mut kernel = self.lock();
        let pages = kernel.maps.get_mut(&index).unwrap();
        assert!(pages.count() == 1 && !pages.is_mapped && pages.held.is_none());
        // As Xen: it is granted.
        if pages.grants[0] >= GRANTED {
            return Err(Errno::EINVAL);
        }
        pages.held = Some(access);
        drop(kernel);
        Ok(Held {
            kernel: self.clone(),
            index,
        })
    }

    fn notify(&mut self, index: u64, action: UnmapNotifyAction, port: u32) -> Result<(), Errno> {
        let mut kernel = self.lock();
        let sends = action.contains(UnmapNotifyAction::SEND_EVENT);
        let clears = action.contains(UnmapNotifyAction::CLEAR_BYTE);
        // The driver would take any port of dom0.
        assert!(!sends || port >= SLOT_PORT || kernel.ports.contains(&port));
        if kernel
            .lost_meanwhile
            .take_if(|lost| *lost == port)
            .is_some()
        {
            kernel.ports.remove(&port);
        }
        let (start, pages) = kernel.maps.range_mut(..=index).next_back().unwrap();
        let offset = index - start;
        assert!(offset < u64::from(pages.count()) * PAGE_SIZE as u64);
        // The driver would write into pages that are not there, or not writable.
        assert!(!clears || pages.held == Some(Access::ReadWrite));
        pages.sends = sends.then_some(port);
        pages.clears = clears.then_some(offset);
        Ok(())
    }

    unsafe fn copy(&mut self, segments: &mut [GrantCopySegment]) -> Result<(), Errno> {
        let mut kernel = self.lock();
        kernel.copies.push(segments.len());
        for segment in segments {
            let flags = GrantCopyFlags::from_bits(segment.flags).unwrap();
            let mut bytes = vec![0; segment.len.into()];
            let place = |place, flag| kernel.place(place, flags.contains(flag), bytes.len());
            let source = place(segment.source, GrantCopyFlags::SOURCE_GREF);
            let dest = place(segment.dest, GrantCopyFlags::DEST_GREF);
            segment.status = match source.zip(dest) {
                None => GNTST_BAD_GNTREF,
                Some((source, dest)) => {
                    // SAFETY: in a granted page or the memory for copies, as was looked at.
                    unsafe { shared::read(source, &mut bytes) };
                    // SAFETY: as above; the pages are only used by way of here.
                    unsafe { shared::write(dest, &bytes) };
                    GNTST_OKAY
                }
            };
        }
        Ok(())
    }

    fn send(&self, port: u32) -> Result<(), Errno> {
        let mut kernel = self.lock();
        match kernel.ports.contains(&port) {
            true => kernel.sent.push(port),
            false => return Err(Errno::ENOTCONN),
        }
        Ok(())
    }

    fn slot_port(&self, slot: usize) -> u32 {
        assert!(slot < SLOTS);
        SLOT_PORT + u32::try_from(slot).unwrap()
    }

    fn released(&mut self) -> u32 {
        let mut kernel = self.lock();
        match kernel.slow {
            true => 0,
            false => std::mem::take(&mut kernel.released),
        }
    }

    fn wait_for_release(&mut self, most: Duration) -> u32 {
        let mut kernel = self.lock();
        if kernel.dribbles {
            std::thread::sleep(most);
            kernel.munmap_lingering();
        }
        kernel.waits += 1;
        if kernel.slept > 0 {
            kernel.slept -= 1;
            return 0;
        }
        std::mem::take(&mut kernel.released)
    }
}
