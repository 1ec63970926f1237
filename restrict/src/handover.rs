// SPDX-License-Identifier: MIT OR Apache-2.0
//! Handles that a launcher opened, restricted and left open across exec: the
//! receiving side.
//!
//! Descriptors come by systemd's convention (`sd_listen_fds(3)`): from number 3
//! on, as many as `LISTEN_FDS` says, named in `LISTEN_FDNAMES`, for the process
//! that `LISTEN_PID` names. `XEN_RESTRICT_DOMID` is the guest's domid.

use std::{
    env,
    ffi::OsString,
    os::fd::{BorrowedFd, FromRawFd, OwnedFd, RawFd},
    process,
    sync::atomic::{AtomicBool, Ordering},
};

use nix::{
    fcntl::{FcntlArg, FdFlag, fcntl},
    sys::stat::{SFlag, fstat, major, minor},
};

use crate::{
    error::Error,
    evtchn::EventChannel,
    gntdev::GrantDevice,
    ids::{GuestId, InvalidGuestId},
    privcmd::PrivCmd,
    state::Restricted,
};

#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod laws;

/// The name of a privcmd descriptor in `LISTEN_FDNAMES`.
pub const PRIVCMD_NAME: &str = "xen-privcmd";
/// The name of an event channel descriptor in `LISTEN_FDNAMES`.
pub const EVENT_CHANNEL_NAME: &str = "xen-evtchn";
/// The name of a gntdev descriptor in `LISTEN_FDNAMES`. Linux cannot restrict one, so it is
/// handed over revoked, /dev/null, or only to be mapped, with a broker that makes the
/// requests.
pub const GRANT_DEVICE_NAME: &str = "xen-gntdev";
/// The name of the socket to the grant broker in `LISTEN_FDNAMES`.
pub const GRANT_BROKER_NAME: &str = "xen-grant-broker";
/// The name of the memory that the grant broker copies through, in `LISTEN_FDNAMES`.
pub const GRANT_COPY_NAME: &str = "xen-grant-copy";
/// Names with this beginning are these; any other is refused.
pub(crate) const PREFIX: &str = "xen-";
const KNOWN: [&str; 5] = [
    PRIVCMD_NAME,
    EVENT_CHANNEL_NAME,
    GRANT_DEVICE_NAME,
    GRANT_BROKER_NAME,
    GRANT_COPY_NAME,
];
/// The number of /dev/null (Linux's `admin-guide/devices.txt`).
const NULL: (u64, u64) = (1, 3);

/// The first descriptor that is handed over (`SD_LISTEN_FDS_START`).
const START: RawFd = 3;
/// More than any launcher hands over.
const LIMIT: usize = 1024;

/// What a launcher handed over, each Xen handle proven to be what its name
/// says and to be restricted to the guest.
#[derive(Debug)]
#[non_exhaustive]
pub struct Handover {
    /// The guest that this process serves.
    pub guest: GuestId,
    /// The privcmd handle.
    pub privcmd: Option<PrivCmd<Restricted>>,
    /// The event channel handle.
    pub events: Option<EventChannel<Restricted>>,
    /// The gntdev handle, if there is a broker (`--grants brokered`).
    pub grants: Option<GrantDevice<Restricted>>,
    /// Descriptors with other names, in their order.
    pub others: Vec<(String, OwnedFd)>,
}

impl Handover {
    /// Takes what was handed over to this process. All descriptors become
    /// close-on-exec; the environment stays as it is.
    ///
    /// ```no_run
    /// // SAFETY: first thing in `main`, and only here.
    /// let handover = unsafe { xen_restrict::Handover::receive() }?;
    /// let privcmd = handover.privcmd.ok_or("start me with `--xen privcmd`")?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Safety
    /// The descriptors that the environment names belong to nobody else in this
    /// process: call it before anything else takes or opens descriptors. It can
    /// be called once.
    ///
    /// # Errors
    /// [`HandoverError`]; the descriptors that were taken are closed then. From
    /// an environment that makes no sense none is taken.
    pub unsafe fn receive() -> Result<Self, HandoverError> {
        static RECEIVED: AtomicBool = AtomicBool::new(false);
        if RECEIVED.swap(true, Ordering::SeqCst) {
            return Err(HandoverError::Again);
        }
        let described = Described::parse(env::var_os::<&str>, process::id())?;
        // All of them first: an error then closes them all.
        let numbers = (START..).take(described.names.len());
        // SAFETY: by this function's contract they are nobody else's.
        let taken: Vec<_> = numbers.map(|number| unsafe { take(number) }).collect();
        let fds = taken.into_iter().collect::<Result<Vec<_>, _>>()?;
        Self::assemble(described, fds)
    }

    fn assemble(described: Described, fds: Vec<OwnedFd>) -> Result<Self, HandoverError> {
        let mut handover = Self {
            guest: described.guest,
            privcmd: None,
            events: None,
            grants: None,
            others: Vec::new(),
        };
        let [mut device, mut broker, mut copies] = [const { None }; 3];
        for (name, fd) in described.names.into_iter().zip(fds) {
            match name.as_str() {
                PRIVCMD_NAME => handover.privcmd = Some(PrivCmd::from_fd(fd, described.guest)?),
                EVENT_CHANNEL_NAME => {
                    handover.events = Some(EventChannel::from_fd(fd, described.guest)?);
                }
                GRANT_DEVICE_NAME => device = Some(fd),
                GRANT_BROKER_NAME => broker = Some(fd),
                GRANT_COPY_NAME => copies = Some(fd),
                _ => handover.others.push((name, fd)),
            }
        }
        handover.grants = match (device, broker, copies) {
            (Some(device), Some(broker), Some(copies)) => {
                let guest = described.guest;
                Some(GrantDevice::brokered(device, broker, copies, guest)?)
            }
            (device, None, None) => {
                device.as_ref().map_or(Ok(()), is_revoked)?;
                None
            }
            _ => return Err(HandoverError::HalfABroker),
        };
        Ok(handover)
    }
}

fn is_revoked(fd: &OwnedFd) -> Result<(), HandoverError> {
    let stat = fstat(fd).map_err(|errno| HandoverError::Kernel(errno.into()))?;
    let character = SFlag::from_bits_truncate(stat.st_mode) & SFlag::S_IFMT == SFlag::S_IFCHR;
    if character && (major(stat.st_rdev), minor(stat.st_rdev)) == NULL {
        return Ok(());
    }
    Err(HandoverError::NotRevoked)
}

/// Takes an inherited descriptor.
///
/// # Safety
/// The number, if it is open, belongs to nobody else in this process.
unsafe fn take(number: RawFd) -> Result<OwnedFd, HandoverError> {
    // SAFETY: only asks; an unused number is an error.
    let borrowed = unsafe { BorrowedFd::borrow_raw(number) };
    let flags =
        fcntl(borrowed, FcntlArg::F_GETFD).map_err(|_| HandoverError::NotOpen { number })?;
    if FdFlag::from_bits_retain(flags).contains(FdFlag::FD_CLOEXEC) {
        // It would not have come through exec.
        return Err(HandoverError::NotInherited { number });
    }
    // SAFETY: open, as seen above, and ours by this function's contract.
    let fd = unsafe { OwnedFd::from_raw_fd(number) };
    let kernel = |errno: nix::errno::Errno| HandoverError::Kernel(errno.into());
    fcntl(&fd, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC)).map_err(kernel)?;
    Ok(fd)
}

/// What the environment says.
#[derive(Debug, PartialEq, Eq)]
struct Described {
    guest: GuestId,
    names: Vec<String>,
}

impl Described {
    fn parse(
        variable: impl Fn(&'static str) -> Option<OsString>,
        pid: u32,
    ) -> Result<Self, HandoverError> {
        let text = |name| {
            let value = variable(name).ok_or(HandoverError::Missing { name })?;
            let value = value.into_string();
            value.map_err(|value| HandoverError::Malformed { name, value })
        };
        let number = |name| -> Result<u32, HandoverError> {
            let value = text(name)?;
            let plain = value.bytes().all(|b| b.is_ascii_digit());
            let parsed = value.parse().ok().filter(|_| plain);
            parsed.ok_or(HandoverError::Malformed {
                name,
                value: value.into(),
            })
        };
        let addressee = number("LISTEN_PID")?;
        if addressee != pid {
            return Err(HandoverError::NotForUs { addressee, pid });
        }
        let count = number("LISTEN_FDS")?;
        let count = usize::try_from(count).unwrap_or(usize::MAX);
        if count > LIMIT {
            let name = "LISTEN_FDS";
            let value = count.to_string().into();
            return Err(HandoverError::Malformed { name, value });
        }
        let names = text("LISTEN_FDNAMES")?;
        let names: Vec<_> = names.split(':').map(str::to_owned).collect();
        let names = if count == 0 { Vec::new() } else { names };
        if names.len() != count {
            let named = names.len();
            return Err(HandoverError::Count { count, named });
        }
        for (at, name) in names.iter().enumerate() {
            if name.starts_with(PREFIX) && names[..at].contains(name) {
                return Err(HandoverError::Twice { name: name.clone() });
            }
            if name.starts_with(PREFIX) && !KNOWN.contains(&&**name) {
                return Err(HandoverError::Unknown { name: name.clone() });
            }
        }
        let guest = text("XEN_RESTRICT_DOMID")?.parse()?;
        Ok(Self { guest, names })
    }
}

/// Why nothing was received.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HandoverError {
    /// A variable is not in the environment.
    #[error(
        "{name} is not in the environment: start this program with a launcher that hands \
             restricted handles over"
    )]
    Missing {
        /// The variable.
        name: &'static str,
    },
    /// A variable is not what it should be.
    #[error("{name} is {value:?}: the launcher is broken, or not for this convention")]
    Malformed {
        /// The variable.
        name: &'static str,
        /// Its value.
        value: OsString,
    },
    /// The descriptors are another process's: a parent passed the environment on.
    #[error(
        "LISTEN_PID is {addressee}, and this is process {pid}: receive the handles in the \
             process that was launched"
    )]
    NotForUs {
        /// The process they are for.
        addressee: u32,
        /// This process.
        pid: u32,
    },
    /// Not as many names as descriptors.
    #[error("LISTEN_FDS is {count}, and LISTEN_FDNAMES has {named} names: the launcher is broken")]
    Count {
        /// Descriptors.
        count: usize,
        /// Names.
        named: usize,
    },
    /// A Xen handle of one kind came twice.
    #[error("two descriptors are named {name:?}: the launcher is broken")]
    Twice {
        /// The name.
        name: String,
    },
    /// A Xen handle of a kind that this version cannot prove to be restricted.
    #[error(
        "a descriptor is named {name:?}, which this version does not know: use a launcher of \
             the same version"
    )]
    Unknown {
        /// The name.
        name: String,
    },
    /// A gntdev handle that is in force.
    #[error(
        "the descriptor xen-gntdev is not revoked, and there is no broker: use a launcher that revokes it, or \
             `--grants brokered`"
    )]
    NotRevoked,
    /// Some of the three descriptors of a grant broker are missing.
    #[error(
        "the descriptors xen-gntdev, xen-grant-broker and xen-grant-copy come together or, but for \
             the first, not at all: the launcher is broken"
    )]
    HalfABroker,
    /// A descriptor is not open.
    #[error(
        "descriptor {number} is not open: the launcher closed it, or something in this \
             program did before"
    )]
    NotOpen {
        /// Its number.
        number: RawFd,
    },
    /// A descriptor was opened by this process itself.
    #[error(
        "descriptor {number} was opened in this process, not inherited: receive the handles \
             before anything else is opened"
    )]
    NotInherited {
        /// Its number.
        number: RawFd,
    },
    /// The domid is none.
    #[error("XEN_RESTRICT_DOMID")]
    Domid(#[from] InvalidGuestId),
    /// A descriptor is not what its name says, or is not restricted to the guest.
    #[error("a handle that was handed over is refused")]
    Handle(#[from] Error),
    /// `receive` was called before.
    #[error("the handles were received before: pass them on inside the program")]
    Again,
    /// Anything else, in the kernel's own word.
    #[error("the kernel refused")]
    Kernel(#[source] std::io::Error),
}

#[cfg(test)]
mod tests {
    use std::{collections::HashMap, fs::File, os::fd::AsRawFd};

    use super::*;

    const GOOD: [(&str, &str); 4] = [
        ("LISTEN_PID", "42"),
        ("LISTEN_FDS", "3"),
        ("LISTEN_FDNAMES", "xen-privcmd:log:xen-evtchn"),
        ("XEN_RESTRICT_DOMID", "7"),
    ];

    fn parse(changes: &[(&'static str, Option<&str>)]) -> Result<Described, HandoverError> {
        let mut environment = HashMap::from(GOOD);
        for (name, value) in changes {
            match value {
                Some(value) => environment.insert(name, value),
                None => environment.remove(name),
            };
        }
        Described::parse(|name| environment.get(name).map(Into::into), 42)
    }

    #[test]
    fn names_come_in_their_order() {
        let described = parse(&[]).unwrap();
        assert_eq!(described.guest.get(), 7);
        assert_eq!(described.names, ["xen-privcmd", "log", "xen-evtchn"]);
        let none = parse(&[("LISTEN_FDS", Some("0")), ("LISTEN_FDNAMES", Some(""))]).unwrap();
        assert!(none.names.is_empty());
    }

    #[test]
    fn each_variable_is_needed_and_named() {
        for (name, _) in GOOD {
            let error = parse(&[(name, None)]).unwrap_err();
            assert!(matches!(error, HandoverError::Missing { .. }), "{error}");
            assert!(error.to_string().contains(name), "{error}");
        }
    }

    #[test]
    fn numbers_are_plain_and_bounded() {
        for name in ["LISTEN_PID", "LISTEN_FDS"] {
            for value in ["", "-1", "+3", "3 ", "0x3", "99999999999999999999"] {
                let error = parse(&[(name, Some(value))]).unwrap_err();
                assert!(matches!(error, HandoverError::Malformed { .. }), "{error}");
            }
        }
        let error = parse(&[("LISTEN_FDS", Some("4000000000"))]).unwrap_err();
        assert!(matches!(error, HandoverError::Malformed { .. }), "{error}");
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let error = parse(&[("LISTEN_PID", Some("43"))]).unwrap_err();
        assert!(matches!(
            error,
            HandoverError::NotForUs {
                addressee: 43,
                pid: 42
            }
        ));
        let error = parse(&[("LISTEN_FDS", Some("2"))]).unwrap_err();
        assert!(matches!(error, HandoverError::Count { count: 2, named: 3 }));
        let error = parse(&[("LISTEN_FDNAMES", Some("xen-evtchn:a:xen-evtchn"))]).unwrap_err();
        assert!(matches!(error, HandoverError::Twice { .. }), "{error}");
        let error = parse(&[("LISTEN_FDNAMES", Some("a:b:xen-gntalloc"))]).unwrap_err();
        assert!(matches!(error, HandoverError::Unknown { .. }), "{error}");
        for domid in ["0", "32752", "-1", "dom0", ""] {
            let error = parse(&[("XEN_RESTRICT_DOMID", Some(domid))]).unwrap_err();
            assert!(matches!(error, HandoverError::Domid(_)), "{error}");
        }
    }

    #[test]
    fn a_name_moves_no_cursor() {
        for names in ["a:b:xen-\u{1b}[2J", "xen-\n:xen-\n:a"] {
            let error = parse(&[("LISTEN_FDNAMES", Some(names))]).unwrap_err();
            let text = error.to_string();
            assert!(!text.contains(char::is_control), "{text:?}");
        }
    }

    #[test]
    fn a_descriptor_of_our_own_is_not_taken() {
        let file = File::open("/dev/null").unwrap();
        // SAFETY: `file` keeps the number; an error takes nothing.
        let error = unsafe { take(file.as_raw_fd()) }.unwrap_err();
        assert!(
            matches!(error, HandoverError::NotInherited { .. }),
            "{error}"
        );
        file.metadata().unwrap();
        // SAFETY: no such number.
        let error = unsafe { take(9_999_999) }.unwrap_err();
        assert!(matches!(error, HandoverError::NotOpen { .. }), "{error}");
    }

    #[test]
    fn a_grant_device_is_revoked_or_refused() {
        let one = [
            ("LISTEN_FDS", Some("1")),
            ("LISTEN_FDNAMES", Some("xen-gntdev")),
        ];
        let null = File::open("/dev/null").unwrap().into();
        let handover = Handover::assemble(parse(&one).unwrap(), vec![null]).unwrap();
        assert!(handover.others.is_empty());
        for path in ["/dev/zero", "/etc/passwd"] {
            let other = File::open(path).unwrap().into();
            let error = Handover::assemble(parse(&one).unwrap(), vec![other]).unwrap_err();
            assert!(matches!(error, HandoverError::NotRevoked), "{error}");
        }
    }

    #[test]
    fn a_broker_is_whole() {
        let null = || File::open("/dev/null").unwrap().into();
        for names in ["xen-grant-broker", "xen-gntdev:xen-grant-copy"] {
            let count = names.split(':').count();
            let described = parse(&[
                ("LISTEN_FDS", Some(&count.to_string())),
                ("LISTEN_FDNAMES", Some(names)),
            ]);
            let fds = (0..count).map(|_| null()).collect();
            let error = Handover::assemble(described.unwrap(), fds).unwrap_err();
            assert!(matches!(error, HandoverError::HalfABroker), "{error}");
        }
    }

    #[test]
    fn a_name_does_not_make_a_handle() {
        let described = parse(&[
            ("LISTEN_FDS", Some("1")),
            ("LISTEN_FDNAMES", Some("xen-privcmd")),
        ]);
        let null = File::open("/dev/null").unwrap().into();
        let error = Handover::assemble(described.unwrap(), vec![null]).unwrap_err();
        assert!(matches!(error, HandoverError::Handle(_)), "{error}");
    }
}
