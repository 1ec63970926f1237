// SPDX-License-Identifier: MIT OR Apache-2.0
//! What Xen counts, one type each, so that none passes for another.

use std::{fmt, num::NonZeroU16, str::FromStr};

use xen_sys::domid;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// The domid of a guest: 1 to 0x7FEF.
///
/// Domain 0 is not a guest, and from 0x7FF0 on the numbers are reserved
/// (`DOMID_SELF`, `DOMID_IO`, ...; Xen's `public/xen.h`). Linux accepts some of
/// them in its restrict ioctls and then restricts nothing, so they cannot be
/// written as a `GuestId`.
///
/// ```
/// use xen_restrict::GuestId;
/// assert_eq!(GuestId::new(7)?.get(), 7);
/// assert!(GuestId::new(0).is_err());
/// assert!(GuestId::new(0x7FF0).is_err());
/// assert!("-1".parse::<GuestId>().is_err());
/// # Ok::<(), xen_restrict::InvalidGuestId>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GuestId(NonZeroU16);

impl GuestId {
    /// The lowest domid of a guest.
    pub const MIN: Self = Self(NonZeroU16::MIN);
    /// The highest domid of a guest: one below `DOMID_FIRST_RESERVED`.
    pub const MAX: Self = Self(NonZeroU16::new(domid::FIRST_RESERVED - 1).unwrap());

    /// Checks that `domid` can be a guest's.
    ///
    /// # Errors
    /// [`InvalidGuestId`] for 0 and for 0x7FF0 and above.
    pub const fn new(domid: u16) -> Result<Self, InvalidGuestId> {
        match NonZeroU16::new(domid) {
            Some(id) if domid < domid::FIRST_RESERVED => Ok(Self(id)),
            _ => Err(InvalidGuestId::Reserved(domid)),
        }
    }

    /// The number itself.
    #[must_use]
    pub const fn get(self) -> u16 {
        self.0.get()
    }

    /// Some other guest's domid, for probes that must be refused.
    pub(crate) fn another(self) -> Self {
        Self::new(self.get() + 1).unwrap_or(Self::MIN)
    }
}

impl fmt::Display for GuestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "domain {}", self.0)
    }
}

impl fmt::Debug for GuestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "GuestId({})", self.0)
    }
}

impl From<GuestId> for u16 {
    fn from(id: GuestId) -> Self {
        id.get()
    }
}

impl TryFrom<u16> for GuestId {
    type Error = InvalidGuestId;
    fn try_from(domid: u16) -> Result<Self, InvalidGuestId> {
        Self::new(domid)
    }
}

impl FromStr for GuestId {
    type Err = InvalidGuestId;
    fn from_str(text: &str) -> Result<Self, InvalidGuestId> {
        let plain = text.bytes().all(|b| b.is_ascii_digit());
        match text.parse::<u16>() {
            Ok(domid) if plain => Self::new(domid),
            _ => Err(InvalidGuestId::NotANumber(text.into())),
        }
    }
}

/// Why something is not a guest's domid.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidGuestId {
    /// Domain 0, or a number that Xen reserves.
    #[error(
        "domid {0} is {name}, not a guest: guests are 1 to 32751; `xl list` shows them",
        name = reserved_name(*.0)
    )]
    Reserved(u16),
    /// Not a decimal number that fits a domid.
    #[error(
        "{0:?} is not a domid: give a decimal number from 1 to 32751; `xl domid NAME` prints it"
    )]
    NotANumber(Box<str>),
}

fn reserved_name(domid: u16) -> &'static str {
    match domid {
        domid::DOM0 => "domain 0",
        domid::SELF => "DOMID_SELF",
        domid::IO => "DOMID_IO",
        domid::XEN => "DOMID_XEN",
        domid::COW => "DOMID_COW",
        domid::INVALID => "DOMID_INVALID",
        domid::IDLE => "DOMID_IDLE",
        _ => "a reserved number",
    }
}

macro_rules! number {
    ($(#[$doc:meta])* $name:ident($inner:ty), $format:literal) => {
        $(#[$doc])*
        #[derive(
            Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash,
            FromBytes, IntoBytes, Immutable, KnownLayout,
        )]
        #[repr(transparent)]
        pub struct $name($inner);

        impl $name {
            /// Wraps the number; Xen checks it at use.
            #[must_use]
            pub const fn new(number: $inner) -> Self {
                Self(number)
            }

            /// The number itself.
            #[must_use]
            pub const fn get(self) -> $inner {
                self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, $format, self.0)
            }
        }
    };
}

number!(
    /// A guest frame number: a page (4096 bytes) of a guest's physical memory.
    Gfn(u64), "gfn {:#x}"
);
number!(
    /// A grant reference: a page that another domain offers, named by the
    /// index of its entry in that domain's grant table.
    GrantRef(u32), "grant reference {}"
);
number!(
    /// An event channel port. Local or remote depends on where it is used.
    Port(u32), "port {}"
);
number!(
    /// An ioreq server of one guest.
    IoreqServerId(u16), "ioreq server {}"
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_domid_is_a_guest_or_refused() {
        for domid in 0..=u16::MAX {
            assert_eq!(
                GuestId::new(domid).is_ok(),
                (1..0x7FF0).contains(&domid),
                "{domid:#x}"
            );
        }
    }

    #[test]
    fn text_that_is_no_domid_says_what_to_do() {
        for text in ["", "-1", "+1", " 1", "1 ", "0x7", "dom0", "65536", "7.0"] {
            let error = text.parse::<GuestId>().unwrap_err();
            assert_eq!(error, InvalidGuestId::NotANumber(text.into()));
            assert!(error.to_string().contains("xl domid"), "{error}");
        }
        assert_eq!("32751".parse::<GuestId>().unwrap(), GuestId::MAX);
        let error = "32752".parse::<GuestId>().unwrap_err().to_string();
        assert!(error.contains("DOMID_SELF"), "{error}");
    }

    #[test]
    fn another_is_never_the_same() {
        for domid in 1..0x7FF0 {
            let id = GuestId::new(domid).unwrap();
            assert_ne!(id, id.another());
        }
    }
}
