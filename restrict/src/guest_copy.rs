// SPDX-License-Identifier: MIT OR Apache-2.0
//! Copies between local memory and pages that the guest granted, for a process that has
//! one guest.

use xen_sys::{gntdev::GrantCopyFlags, grant_table::GNTST_GENERAL_ERROR};

use crate::{
    broker::message::{Place, Segment},
    grant::GrantError,
    ids::GrantRef,
    memory::AccessError,
    mmap::PAGE_SIZE,
};

/// A place in a page that the guest granted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GrantOffset {
    /// The guest's grant of the page.
    pub grant: GrantRef,
    /// Offset in the page, 0 to 4095.
    pub offset: u16,
}

/// One copy, of at most a page, and not across a granted page's end.
#[derive(Debug)]
pub struct GuestCopy<'a> {
    way: Way<'a>,
    length: u16,
    status: i16,
}

#[derive(Debug)]
enum Way<'a> {
    Read(GrantOffset, &'a mut [u8]),
    Write(GrantOffset, &'a [u8]),
    Between(GrantOffset, GrantOffset),
}

impl<'a> GuestCopy<'a> {
    /// Copies granted memory into local memory.
    ///
    /// # Errors
    /// [`AccessError::OutOfRange`] where the granted page ends before `into`.
    pub fn read(from: GrantOffset, into: &'a mut [u8]) -> Result<Self, AccessError> {
        let length = within(from, into.len())?;
        Ok(Self::new(Way::Read(from, into), length))
    }

    /// Copies local memory into granted memory.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    pub fn write(to: GrantOffset, from: &'a [u8]) -> Result<Self, AccessError> {
        let length = within(to, from.len())?;
        Ok(Self::new(Way::Write(to, from), length))
    }

    /// Copies `length` bytes from one granted page to another.
    ///
    /// # Errors
    /// As [`read`](Self::read), for either page.
    pub fn between(
        from: GrantOffset,
        to: GrantOffset,
        length: usize,
    ) -> Result<GuestCopy<'static>, AccessError> {
        within(from, length)?;
        let length = within(to, length)?;
        Ok(GuestCopy::new(Way::Between(from, to), length))
    }

    fn new(way: Way<'a>, length: u16) -> Self {
        Self {
            way,
            length,
            status: GNTST_GENERAL_ERROR,
        }
    }

    /// What Xen said of it in the last copy.
    ///
    /// # Errors
    /// [`GrantError`], Xen's own reason; a general error before any copy.
    pub fn status(&self) -> Result<(), GrantError> {
        GrantError::check(self.status)
    }

    pub(crate) fn set_status(&mut self, status: i16) {
        self.status = status;
    }

    /// Bytes of local memory.
    pub(crate) fn local_length(&self) -> usize {
        match self.way {
            Way::Between(..) => 0,
            Way::Read(..) | Way::Write(..) => self.length.into(),
        }
    }

    /// For the broker, with the local side at an offset of the shared memory.
    pub(crate) fn segment(&self, at: u32) -> Segment {
        let local = Place {
            at,
            ..Place::default()
        };
        let (source, dest, flags) = match &self.way {
            Way::Read(from, _) => (granted(from), local, GrantCopyFlags::SOURCE_GREF),
            Way::Write(to, _) => (local, granted(to), GrantCopyFlags::DEST_GREF),
            Way::Between(from, to) => (granted(from), granted(to), GrantCopyFlags::all()),
        };
        Segment {
            source,
            dest,
            length: self.length,
            flags: flags.bits(),
        }
    }

    pub(crate) fn origin(&self) -> Option<&[u8]> {
        match &self.way {
            Way::Write(_, from) => Some(from),
            _ => None,
        }
    }

    /// Where what was read goes; nowhere if Xen refused it.
    pub(crate) fn destination(&mut self) -> Option<&mut [u8]> {
        self.status().ok()?;
        match &mut self.way {
            Way::Read(_, into) => Some(into),
            _ => None,
        }
    }
}

fn granted(place: &GrantOffset) -> Place {
    Place {
        at: place.grant.get(),
        offset: place.offset,
        zero: 0,
    }
}

fn within(place: GrantOffset, length: usize) -> Result<u16, AccessError> {
    let offset = usize::from(place.offset);
    let outside = AccessError::OutOfRange {
        offset,
        length,
        size: PAGE_SIZE,
    };
    if offset.saturating_add(length) > PAGE_SIZE {
        return Err(outside);
    }
    u16::try_from(length).map_err(|_| outside)
}
