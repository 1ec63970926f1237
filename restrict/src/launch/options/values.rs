// SPDX-License-Identifier: MIT OR Apache-2.0
//! What single options say.

use std::{ffi::OsString, fmt, os::fd::RawFd, time::Duration};

use super::InvalidOption;

/// A device of Xen's whose handle is opened, restricted and handed over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum XenDevice {
    /// `/dev/xen/privcmd`.
    PrivCmd,
    /// `/dev/xen/evtchn`.
    EventChannel,
    /// `/dev/xen/gntdev`: Linux cannot restrict it, so what is handed over depends on
    /// [`Grants`].
    GrantDevice,
}

impl XenDevice {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::PrivCmd, Self::EventChannel, Self::GrantDevice];

    /// Its name in options.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::PrivCmd => "privcmd",
            Self::EventChannel => "evtchn",
            Self::GrantDevice => "gntdev",
        }
    }

    /// Its name in `LISTEN_FDNAMES`.
    #[must_use]
    pub const fn fd_name(self) -> &'static str {
        match self {
            Self::PrivCmd => crate::handover::PRIVCMD_NAME,
            Self::EventChannel => crate::handover::EVENT_CHANNEL_NAME,
            Self::GrantDevice => crate::handover::GRANT_DEVICE_NAME,
        }
    }
}

impl std::str::FromStr for XenDevice {
    type Err = InvalidOption;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        let found = Self::ALL.into_iter().find(|device| device.name() == name);
        found.ok_or_else(|| InvalidOption::Device(name.escape_debug().to_string()))
    }
}

/// What a program can do with its guest's grants.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Grants {
    /// Nothing: its gntdev handle is revoked.
    #[default]
    Revoked,
    /// Maps and copies them; the supervisor makes the requests.
    Brokered {
        /// Pages that can be mapped at a time, 1 to [`MAX_GRANT_QUOTA`].
        quota: u32,
    },
}

/// Of [`Grants::Brokered`], if nothing else is said: what a disk with four rings needs.
pub const DEFAULT_GRANT_QUOTA: u32 = 4096;
/// 256 MiB; Xen's own limit of dom0 is 2 GiB for all programs together.
pub const MAX_GRANT_QUOTA: u32 = 65_536;

impl fmt::Display for Grants {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Revoked => f.write_str("revoked"),
            Self::Brokered { quota } => write!(f, "brokered={quota}"),
        }
    }
}

impl std::str::FromStr for Grants {
    type Err = InvalidOption;

    /// `revoked`, `brokered`, or `brokered=PAGES`.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let quota = match text.split_once('=') {
            None if text == "revoked" => return Ok(Self::Revoked),
            None if text == "brokered" => {
                return Ok(Self::Brokered {
                    quota: DEFAULT_GRANT_QUOTA,
                });
            }
            Some(("brokered", pages)) if pages.bytes().all(|b| b.is_ascii_digit()) => pages.parse(),
            _ => "".parse(),
        };
        let allowed = 1..=MAX_GRANT_QUOTA;
        match quota {
            Ok(quota) if allowed.contains(&quota) => Ok(Self::Brokered { quota }),
            _ => Err(InvalidOption::Grants(text.escape_debug().to_string())),
        }
    }
}

/// A descriptor of the launcher that the program gets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamedFd {
    /// `stdin`, `stdout`, `stderr`, or a name for `LISTEN_FDNAMES`.
    pub(crate) name: String,
    pub(crate) number: RawFd,
}

/// The names of descriptors 0 to 2.
pub(crate) const STDIO: [&str; 3] = ["stdin", "stdout", "stderr"];

impl NamedFd {
    /// A descriptor that is open now, by its number.
    ///
    /// # Errors
    /// The name is empty, longer than 255 bytes, has a colon or a character that is not
    /// printable ASCII, or begins with `xen-`.
    pub fn new(name: &str, number: RawFd) -> Result<Self, InvalidOption> {
        let printable = name
            .bytes()
            .all(|byte| byte.is_ascii_graphic() && byte != b':' && byte != b'=');
        let taken = name.starts_with(crate::handover::PREFIX);
        if name.is_empty() || name.len() > 255 || !printable || taken || number < 0 {
            return Err(InvalidOption::FdName(name.escape_debug().to_string()));
        }
        Ok(Self {
            name: name.to_owned(),
            number,
        })
    }

    /// The launcher's number.
    #[must_use]
    pub fn number(&self) -> RawFd {
        self.number
    }
}

impl std::str::FromStr for NamedFd {
    type Err = InvalidOption;

    /// `NAME=NUM`.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let shown = || InvalidOption::Fd(text.escape_debug().to_string());
        let (name, number) = text.split_once('=').ok_or_else(shown)?;
        if number.is_empty() || !number.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(shown());
        }
        Self::new(name, number.parse().map_err(|_| shown())?)
    }
}

/// Where the value of a variable comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum EnvValue {
    /// From the launcher's environment, when it starts.
    Inherited,
    Given(OsString),
}

/// When a program that does not seal itself is sealed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SealAt {
    /// Before its first instruction: the guest runs already.
    Start,
    /// After it started, at the latest; sooner when it says `READY=1`. Whole seconds,
    /// rounded up.
    After(Duration),
}

impl SealAt {
    /// 0 is before it starts. Rounded up.
    pub(crate) fn seconds(self) -> u64 {
        match self {
            Self::Start => 0,
            Self::After(time) => time
                .as_secs()
                .saturating_add(u64::from(time.subsec_nanos() > 0))
                .max(1),
        }
    }
}

impl Default for SealAt {
    fn default() -> Self {
        Self::After(Duration::from_secs(30))
    }
}

/// Bytes, from a number with or without K, M, G (powers of 1024).
///
/// # Errors
/// It is none, or 0, or 2^64 or more.
pub fn parse_size(text: &str) -> Result<u64, InvalidOption> {
    let (digits, shift) = match text.as_bytes().last() {
        Some(b'K') => (&text[..text.len() - 1], 10),
        Some(b'M') => (&text[..text.len() - 1], 20),
        Some(b'G') => (&text[..text.len() - 1], 30),
        _ => (text, 0),
    };
    let all_digits = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    let number: Option<u64> = digits.parse().ok().filter(|_| all_digits);
    number
        .and_then(|number| number.checked_mul(1 << shift))
        .filter(|bytes| *bytes > 0)
        .ok_or_else(|| InvalidOption::Size(text.escape_debug().to_string()))
}
