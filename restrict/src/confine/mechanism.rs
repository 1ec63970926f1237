// SPDX-License-Identifier: MIT OR Apache-2.0
//! The mechanisms that confine a process, and the profiles made of them.

use std::{fmt, str::FromStr};

/// One way of taking something away from a process. `Display` and `FromStr` use
/// [`Mechanism::name`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Mechanism {
    /// A uid and gid of its own, no other groups.
    Identity,
    /// No capability, now or later.
    Capabilities,
    /// No privilege is gained by exec.
    NoNewPrivs,
    /// Which requests on Xen's devices: see [`xen_requests`](super::xen_requests).
    XenRequests,
    /// Which system calls.
    Seccomp,
    /// Mounts of its own.
    MountNs,
    /// System V IPC and POSIX message queues of its own.
    IpcNs,
    /// A network of its own: loopback, down.
    NetNs,
    /// Sees its own processes only.
    PidNs,
    /// A host name of its own.
    UtsNs,
    /// Sees its own control group only.
    CgroupNs,
    /// A root directory that holds only what was named.
    Root,
    /// Files, signals and abstract sockets beyond what was named are refused.
    Landlock,
    /// Limits of a process and of a user.
    Rlimits,
    /// Limits of all its processes together.
    Cgroup,
    /// Only the named descriptors.
    Fds,
    /// Only the named environment variables.
    Env,
    /// Ends when its supervisor does.
    ParentDeath,
    /// A session keyring of its own.
    Keyring,
    /// New files are its own only.
    Umask,
    /// No controlling terminal.
    Session,
}

/// What is known of a mechanism without looking at a process.
struct Row {
    mechanism: Mechanism,
    name: &'static str,
    /// In profile `libxl` too; all are in the others.
    libxl: bool,
    /// Not every machine has it: where it is absent, that is said, and it goes
    /// on without.
    of_the_host: bool,
    /// What it does, for a person.
    does: &'static str,
}

const fn row(
    mechanism: Mechanism,
    name: &'static str,
    profiles: Profiles,
    does: &'static str,
) -> Row {
    Row {
        mechanism,
        name,
        libxl: matches!(profiles, All),
        of_the_host: matches!(profiles, NotLibxlIfPresent),
        does,
    }
}

enum Profiles {
    All,
    NotLibxl,
    NotLibxlIfPresent,
}

use Mechanism::{
    Capabilities, Cgroup, CgroupNs, Env, Fds, Identity, IpcNs, Keyring, Landlock, MountNs, NetNs,
    NoNewPrivs, ParentDeath, PidNs, Rlimits, Root, Seccomp, Session, Umask, UtsNs, XenRequests,
};
use Profiles::{All, NotLibxl, NotLibxlIfPresent};

/// In the order of the enum.
const TABLE: [Row; 21] = [
    row(
        Identity,
        "identity",
        All,
        "a uid and gid of its own, no other groups",
    ),
    row(
        Capabilities,
        "capabilities",
        All,
        "all sets empty; in strict the bounding set too, in qemu it is small; securebits locked",
    ),
    row(
        NoNewPrivs,
        "no-new-privs",
        NotLibxl,
        "exec gives no privilege",
    ),
    row(
        XenRequests,
        "xen-requests",
        All,
        "a filter on the requests of Xen's devices",
    ),
    row(Seccomp, "seccomp", NotLibxl, "an allowlist of system calls"),
    row(MountNs, "mount-ns", All, "mounts of its own"),
    row(
        IpcNs,
        "ipc-ns",
        All,
        "System V IPC and message queues of its own",
    ),
    row(NetNs, "net-ns", NotLibxl, "only a loopback device, down"),
    row(
        PidNs,
        "pid-ns",
        NotLibxl,
        "pid 1 is an init of ours, the program pid 2",
    ),
    row(UtsNs, "uts-ns", NotLibxl, "a host name of its own"),
    row(
        CgroupNs,
        "cgroup-ns",
        NotLibxl,
        "its own control group looks like the root",
    ),
    row(
        Root,
        "root",
        All,
        "strict: a fresh read-only tmpfs with what was named; libxl: chroot to an empty directory; \
         qemu: dom0's files read-only, and none of them after QEMU's own chroot",
    ),
    row(
        Landlock,
        "landlock",
        NotLibxlIfPresent,
        "only named paths; in strict abstract sockets and signals scoped",
    ),
    row(
        Rlimits,
        "rlimits",
        All,
        "limits of the process and of its user",
    ),
    row(
        Cgroup,
        "cgroup",
        NotLibxlIfPresent,
        "a leaf of its own with limits on processes and memory",
    ),
    row(Fds, "fds", All, "none but the named ones"),
    row(Env, "env", NotLibxl, "empty but for the named variables"),
    row(
        ParentDeath,
        "parent-death",
        NotLibxl,
        "it ends when the supervisor does",
    ),
    row(Keyring, "keyring", NotLibxl, "a new session keyring"),
    row(Umask, "umask", NotLibxl, "077"),
    row(Session, "session", All, "setsid: no controlling terminal"),
];

impl Mechanism {
    /// All of them.
    pub const ALL: [Self; 21] = {
        let mut all = [Self::Identity; 21];
        let mut at = 0;
        while at < TABLE.len() {
            assert!(TABLE[at].mechanism as usize == at);
            all[at] = TABLE[at].mechanism;
            at += 1;
        }
        all
    };

    const fn row(self) -> &'static Row {
        &TABLE[self as usize]
    }

    /// Its name in options, messages and reports.
    #[must_use]
    pub const fn name(self) -> &'static str {
        self.row().name
    }

    /// What it does, in a few words.
    #[must_use]
    pub const fn does(self) -> &'static str {
        self.row().does
    }

    /// Whether a launcher goes on where the machine does not offer it.
    #[must_use]
    pub const fn depends_on_host(self) -> bool {
        self.row().of_the_host
    }
}

impl fmt::Display for Mechanism {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Mechanism {
    type Err = UnknownMechanism;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        let found = Self::ALL.into_iter().find(|m| m.name() == name);
        found.ok_or_else(|| UnknownMechanism(name.escape_debug().to_string()))
    }
}

/// No mechanism has this name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("there is no mechanism {0:?}; there are {names}", names = names(Mechanism::ALL.map(Mechanism::name)))]
pub struct UnknownMechanism(String);

fn names<const N: usize>(names: [&str; N]) -> String {
    names.join(", ")
}

/// A named set of mechanisms.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Profile {
    /// What Xen's `libxl` does, and the filter on Xen requests.
    Libxl,
    /// All that a QEMU bears which is started as root and gives that up itself: `dm-restrict
    /// qemu`.
    Qemu,
    /// Every mechanism.
    #[default]
    Strict,
}

impl Profile {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Libxl, Self::Qemu, Self::Strict];

    /// Its name in options and reports.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Libxl => "libxl",
            Self::Qemu => "qemu",
            Self::Strict => "strict",
        }
    }

    /// Whether `mechanism` is part of it.
    #[must_use]
    pub const fn has(self, mechanism: Mechanism) -> bool {
        match self {
            Self::Libxl => mechanism.row().libxl,
            Self::Qemu | Self::Strict => true,
        }
    }
}

impl fmt::Display for Profile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Profile {
    type Err = UnknownProfile;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        let found = Self::ALL.into_iter().find(|p| p.name() == name);
        found.ok_or_else(|| UnknownProfile(name.escape_debug().to_string()))
    }
}

/// No profile has this name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("there is no profile {0:?}; there are {names}", names = names(Profile::ALL.map(Profile::name)))]
pub struct UnknownProfile(String);

/// A mechanism that could not be applied. The program was not started.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{mechanism}: {reason}; {remedy}")]
#[non_exhaustive]
pub struct MechanismError {
    /// Which.
    pub mechanism: Mechanism,
    /// What was tried, and the kernel's answer.
    pub reason: String,
    /// What to do.
    pub remedy: String,
}

impl MechanismError {
    /// `reason` says what was tried and what came of it; `remedy` what to do.
    pub(crate) fn new(
        mechanism: Mechanism,
        reason: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        Self {
            mechanism,
            reason: reason.into(),
            remedy: remedy.into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_lead_back() {
        for mechanism in Mechanism::ALL {
            assert_eq!(mechanism.name().parse(), Ok(mechanism));
            assert!(!mechanism.does().is_empty());
        }
        for profile in Profile::ALL {
            assert_eq!(profile.name().parse(), Ok(profile));
        }
    }

    #[test]
    fn an_unknown_name_is_answered_with_those_there_are() {
        let error = "Seccomp\u{1b}[2J"
            .parse::<Mechanism>()
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("seccomp") && !error.contains('\u{1b}'),
            "{error}"
        );
        assert!(
            "qemu2"
                .parse::<Profile>()
                .unwrap_err()
                .to_string()
                .contains("libxl, qemu, strict")
        );
    }

    #[test]
    fn the_profiles_are_those_of_the_documentation() {
        let libxl: Vec<_> = Mechanism::ALL
            .into_iter()
            .filter(|m| Profile::Libxl.has(*m))
            .collect();
        let expected = [
            Identity,
            Capabilities,
            XenRequests,
            MountNs,
            IpcNs,
            Root,
            Rlimits,
            Fds,
            Session,
        ];
        assert_eq!(libxl, expected);
        let all = |profile: Profile| Mechanism::ALL.into_iter().all(|m| profile.has(m));
        assert!(all(Profile::Strict) && all(Profile::Qemu));
        let host: Vec<_> = Mechanism::ALL
            .into_iter()
            .filter(|m| m.depends_on_host())
            .collect();
        assert_eq!(host, [Landlock, Cgroup]);
    }
}
