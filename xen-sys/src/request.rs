// SPDX-License-Identifier: MIT OR Apache-2.0
//! The numbers of ioctls.

use core::{fmt, marker::PhantomData};

/// An ioctl's request number, which remembers the type of its argument.
///
/// Xen's drivers set no direction bits, whatever they read and write, except
/// where [`write`](Self::write) is used. So the helpers that other drivers'
/// bindings use give wrong numbers here.
///
/// ```
/// use xen_sys::{Request, evtchn};
/// assert_eq!(evtchn::BIND_INTERDOMAIN.number(), 0x0008_4501);
/// assert_eq!(Request::<u16>::new(b'P', 6).number(), 0x0002_5006);
/// ```
pub struct Request<T>(u32, PhantomData<fn(&mut T)>);

impl<T> Request<T> {
    /// A number with the argument's size and no direction.
    #[must_use]
    pub const fn new(group: u8, nr: u8) -> Self {
        Self::with_size(group, nr, size_of::<T>())
    }

    /// A number whose size is not that of the struct in front: 0, or with a
    /// part of the list behind it.
    ///
    /// # Panics
    /// When `size` does not fit 14 bits; in a constant, when compiling.
    #[must_use]
    pub const fn with_size(group: u8, nr: u8, size: usize) -> Self {
        assert!(size < 1 << 14, "an ioctl's size has 14 bits");
        #[allow(clippy::cast_possible_truncation, reason = "checked above")]
        let size = size as u32;
        Self(size << 16 | (group as u32) << 8 | nr as u32, PhantomData)
    }

    /// A number with the direction `_IOC_WRITE`: the driver reads.
    #[must_use]
    pub const fn write(group: u8, nr: u8) -> Self {
        Self(Self::new(group, nr).0 | 1 << 30, PhantomData)
    }

    /// The size in the number, in bytes. For an argument with a list behind it the
    /// driver copies so many in and out whatever the list needs, so no buffer may
    /// be smaller.
    #[must_use]
    pub const fn size(self) -> usize {
        (self.0 >> 16) as usize & ((1 << 14) - 1)
    }

    /// The 32 bits that the kernel compares.
    #[must_use]
    pub const fn number(self) -> u32 {
        self.0
    }
}

impl<T> Clone for Request<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Request<T> {}

impl<T> PartialEq for Request<T> {
    fn eq(&self, other: &Self) -> bool {
        self.0 == other.0
    }
}

impl<T> Eq for Request<T> {}

impl<T> fmt::Debug for Request<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Request({:#x})", self.0)
    }
}
