// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a handle may do, as a type.

use crate::ids::GuestId;

/// One of [`Unrestricted`], [`Restricted`], [`Revoked`].
pub trait State: sealed::Sealed {}

/// The handle can affect every domain.
#[derive(Clone, Copy, Debug)]
pub struct Unrestricted(pub(crate) ());

/// The kernel refuses what is not about one guest: it said so, and a probe
/// showed it.
#[derive(Clone, Copy, Debug)]
pub struct Restricted {
    pub(crate) guest: GuestId,
}

/// The descriptor is /dev/null: Linux cannot restrict this device. What was
/// mapped from the guest before stays mapped.
#[derive(Clone, Copy, Debug)]
pub struct Revoked(pub(crate) ());

impl State for Unrestricted {}
impl State for Restricted {}
impl State for Revoked {}

mod sealed {
    use crate::ids::GuestId;

    pub trait Sealed: Copy + std::fmt::Debug + Send + Sync + 'static {
        /// The only guest that the handle is for, if it has one.
        fn only(self) -> Option<GuestId> {
            None
        }
    }

    impl Sealed for super::Unrestricted {}
    impl Sealed for super::Revoked {}
    impl Sealed for super::Restricted {
        fn only(self) -> Option<GuestId> {
            Some(self.guest)
        }
    }
}
