// SPDX-License-Identifier: MIT OR Apache-2.0
//! The command line. Help, man pages and completions are made from these definitions.

use std::{ffi::OsString, path::PathBuf};

use clap::{Args, Parser, Subcommand, ValueEnum};
use xen_restrict::{
    GuestId,
    confine::{Limit, Mechanism, Profile},
    launch::{CgroupLimit, Grants, NamedFd, XenDevice, parse_size},
};

/// Xen device models, confined to one guest
///
/// Results go to standard output, messages to standard error. The exit code is 0 when it is done, 1
/// when it failed or was refused, 2 for a wrong command line; `run`, `qemu`, `audit` and `doctor`
/// have codes of their own.
#[derive(Parser)]
#[command(name = "dm-restrict", version, max_term_width = 100)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Subcommand)]
pub(crate) enum Command {
    Run(Box<Run>),
    /// Is QEMU to xl: starts it for a guest with dm_restrict=1, confined, and stays until it has
    /// ended
    ///
    /// For device_model_override in a guest's config, under the name
    /// /usr/libexec/dm-restrict/qemu: a link to this command by which it takes QEMU's arguments
    /// and no others. Settings are in /etc/dm-restrict/qemu.conf, or in the file that the
    /// variable DM_RESTRICT_QEMU_CONF names.
    ///
    /// The exit code is QEMU's, 128 and the number of the signal that ended it, or 125 when it could
    /// not be started confined, 126 when it is no program, 127 when it is not there.
    Qemu {
        /// QEMU's, as xl gives them
        #[arg(
            trailing_var_arg = true,
            allow_hyphen_values = true,
            value_name = "ARG"
        )]
        arguments: Vec<OsString>,
    },
    /// Lists the programs that run confined
    List {
        /// Prints JSON
        #[arg(long)]
        json: bool,
    },
    /// Seals a program: requests of its set-up phase are refused from then on
    ///
    /// The exit code is 1 also when one that was let through before is still under way after 10
    /// seconds: no new one is let through then.
    Seal {
        /// The guest's domid, 1 to 32751
        #[arg(long, value_name = "N")]
        domid: GuestId,
        /// The instance's name
        #[arg(long, value_name = "NAME", default_value = "dm")]
        instance: String,
    },
    Audit(Audit),
    /// Shows whose uid a domain's device model runs under, and by which rule
    Identity {
        /// The guest's domid, 1 to 32751
        #[arg(long, value_name = "N")]
        domid: GuestId,
        /// A user to run under instead of the one that the rules give
        #[arg(long, value_name = "NAME")]
        user: Option<String>,
    },
    /// Kills every process of a domain's uid, a running device model too
    Reap {
        /// The guest's domid, 1 to 32751
        #[arg(long, value_name = "N")]
        domid: GuestId,
    },
    /// Looks at this machine: which mechanisms it has, and what to do about the rest
    ///
    /// The exit code is 0 when all that `run` needs is there, 1 when something is missing, 2
    /// when it could not look.
    Doctor {
        /// Prints JSON
        #[arg(long)]
        json: bool,
    },
    /// Writes man pages and shell completions
    #[command(hide = true)]
    Generate {
        /// What
        what: Generated,
        /// Into this directory
        directory: PathBuf,
    },
}

#[derive(Clone, Copy, ValueEnum)]
pub(crate) enum Generated {
    /// dm-restrict.1 and a page for each command
    Man,
    /// For bash, elvish, fish, PowerShell and zsh
    Completions,
}

/// Looks at running programs from outside, and proves what they can do
///
/// Every thread and child is held against each mechanism of the profile, and every handle
/// on Xen's devices is asked what it may act on. The program is not changed by that.
///
/// The exit code is 0 when every check holds, 1 when one fails, 2 when it could not look.
#[derive(Args)]
pub(crate) struct Audit {
    #[command(flatten)]
    pub(crate) whom: Whom,
    /// Which mechanisms: libxl, qemu or strict; if it is not given, what was recorded at the
    /// start, else strict
    #[arg(long, value_name = "NAME", value_parser = parsed::<Profile>)]
    pub(crate) profile: Option<Profile>,
    /// Does not ask for a mechanism; can be repeated
    #[arg(long, value_name = "MECHANISM", value_parser = parsed::<Mechanism>)]
    pub(crate) without: Vec<Mechanism>,
    /// Stops every thread for a moment and reads its filters; a system call that it waits
    /// in may be interrupted
    #[arg(long)]
    pub(crate) filters: bool,
    /// Prints JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// Which programs.
#[derive(Args)]
#[group(required = true, multiple = false)]
pub(crate) struct Whom {
    /// A process, whoever started it
    #[arg(value_name = "PID", value_parser = clap::value_parser!(i32).range(1..))]
    pub(crate) pid: Option<i32>,
    /// All that were started for this guest; its domid, 1 to 32751
    #[arg(long, value_name = "N")]
    pub(crate) domid: Option<GuestId>,
    /// All that were started
    #[arg(long)]
    pub(crate) all: bool,
}

/// Runs a program confined, and stays until it has ended
///
/// The program gets a root directory, descriptors and variables that hold only what is
/// named here, an identity of its own, and handles of Xen's devices that can affect its
/// guest only. Either all of that is in force before its first instruction, or it is not
/// started.
///
/// Before the domain's first program starts, and after its last has ended, all else that runs
/// under the domain's uid is killed: also a QEMU that xl started for the same domid with
/// dm_restrict=1. Beside one, give this program a user of its own by --user.
///
/// The exit code is the program's own, 128 + N when it was killed by signal N; 125 when it
/// could not be started, 126 when it is not executable, 127 when it was not found.
#[derive(Args)]
pub(crate) struct Run {
    /// The guest's domid, 1 to 32751; may be left out with --no-xen --user NAME
    #[arg(long, value_name = "N")]
    pub(crate) domid: Option<GuestId>,
    /// Its name among the guest's programs
    #[arg(long, value_name = "NAME")]
    pub(crate) instance: Option<String>,
    /// Which mechanisms: libxl or strict
    #[arg(long, value_name = "NAME", default_value_t = Profile::Strict, value_parser = parsed::<Profile>)]
    pub(crate) profile: Profile,
    /// Leaves a mechanism out; can be repeated
    #[arg(long, value_name = "MECHANISM", value_parser = parsed::<Mechanism>)]
    pub(crate) without: Vec<Mechanism>,
    /// Does not start where the machine lacks this mechanism; can be repeated
    #[arg(long, value_name = "MECHANISM", value_parser = parsed::<Mechanism>)]
    pub(crate) require: Vec<Mechanism>,
    /// A user to run under instead of the one that the rules give
    #[arg(long, value_name = "NAME")]
    pub(crate) user: Option<String>,
    /// Xen's devices whose handles are opened, restricted and handed over
    #[arg(
        long,
        value_name = "LIST",
        value_delimiter = ',',
        default_value = "privcmd,evtchn,gntdev",
        conflicts_with = "no_xen",
        value_parser = parsed::<XenDevice>
    )]
    pub(crate) xen: Vec<XenDevice>,
    /// Hands over no Xen handle
    #[arg(long)]
    pub(crate) no_xen: bool,
    /// What it can do with its guest's grants: revoked, nothing; brokered, map and copy them
    /// by requests that the supervisor makes, 4096 pages at a time; or brokered=PAGES, 1 to
    /// 65536
    #[arg(long, value_name = "MODE", default_value_t = Grants::Revoked, value_parser = parsed::<Grants>)]
    pub(crate) grants: Grants,
    /// A file or directory that it can read and execute, at the same path, with no FIFO in it
    /// and no socket at which somebody listens; can be repeated
    #[arg(long, value_name = "PATH")]
    pub(crate) bind_ro: Vec<PathBuf>,
    /// The same, that it can change; can be repeated
    #[arg(long, value_name = "PATH")]
    pub(crate) bind_rw: Vec<PathBuf>,
    /// The dynamic loader and the libraries that the program is linked with
    #[arg(long)]
    pub(crate) bind_linked: bool,
    /// /dev/null, zero, full, random and urandom
    #[arg(long)]
    pub(crate) dev: bool,
    /// A /proc with its own processes only
    #[arg(long)]
    pub(crate) proc: bool,
    /// A /tmp in memory; a number of bytes, or with K, M or G
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    pub(crate) tmp: Option<u64>,
    /// An open descriptor: stdin, stdout, stderr, or another name for LISTEN_FDNAMES; can be
    /// repeated
    #[arg(long, value_name = "NAME=NUM", value_parser = parsed::<NamedFd>)]
    pub(crate) fd: Vec<NamedFd>,
    /// An environment variable, with a value or as it is here; can be repeated
    #[arg(long, value_name = "NAME[=VALUE]")]
    pub(crate) env: Vec<OsString>,
    /// A limit of the process or its user, as nofile=1024; can be repeated
    #[arg(long, value_name = "NAME=VALUE", value_parser = parsed::<Limit>)]
    pub(crate) rlimit: Vec<Limit>,
    /// A limit of all its processes: pids.max, memory.max, memory.swap.max, cpu.max
    /// (microseconds in each 100 ms), cpu.weight; can be repeated
    #[arg(long, value_name = "NAME=VALUE", value_parser = parsed::<CgroupLimit>)]
    pub(crate) cgroup: Vec<CgroupLimit>,
    /// Seals the program so many seconds after the start, if it does not say READY=1 before;
    /// 0 before it starts: for a guest that runs already
    #[arg(long, value_name = "SECONDS", default_value_t = 30)]
    pub(crate) seal_after: u32,
    /// Refuses to map guest memory once the program is sealed: for one that maps its guest
    /// once. Such a program takes no memory of dom0's by it any more
    #[arg(long)]
    pub(crate) seal_mapping: bool,
    /// Names system calls that were refused; slower
    #[arg(long)]
    pub(crate) log_denied: bool,
    /// Audits the program when it has started, and ends it if a check fails or nobody could
    /// look; the exit code is 125 then
    #[arg(long)]
    pub(crate) audit: bool,
    /// Prints what would be done, and does nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Where a launcher wants to be told that the program runs, or why it does not
    #[arg(long, value_name = "NUM", hide = true, value_parser = clap::value_parser!(i32).range(0..))]
    pub(crate) report: Option<i32>,
    /// Where a launcher wrote variables
    #[arg(long, value_name = "NUM", hide = true, value_parser = clap::value_parser!(i32).range(0..))]
    pub(crate) env_fd: Option<i32>,
    /// The program, looked for in PATH, and its arguments
    #[arg(required = true, trailing_var_arg = true, value_name = "PROGRAM [ARG]")]
    pub(crate) command: Vec<OsString>,
}

/// A parser whose message is the type's own.
fn parsed<T: std::str::FromStr<Err: std::fmt::Display>>(text: &str) -> Result<T, String> {
    text.parse().map_err(|error: T::Err| error.to_string())
}
