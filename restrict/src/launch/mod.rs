// SPDX-License-Identifier: MIT OR Apache-2.0
//! Starts a program confined: with handles that are restricted to one guest, and with
//! next to no power over the machine.
//!
//! [`Launch`] says what; [`Plan`] says what that comes to on this machine;
//! [`Plan::supervise`] does it in this process, which becomes the supervisor, and
//! [`Launch::spawn`] in a process of its own, the command `dm-restrict`.

mod broker;
mod cgroup_limit;
mod child;
mod control;
mod error;
mod filters;
mod group;
mod guest_life;
mod handles;
mod init;
mod instance;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod laws;
mod linked;
pub(crate) mod no_store;
mod notify;
mod options;
mod output;
mod overseer;
mod plan;
mod preload;
mod program;
mod qemu;
mod record;
mod relay;
mod report;
mod sealing;
mod signals;
mod spawn;
mod start;
mod supervise;
mod watch;
mod wire;

pub use cgroup_limit::CgroupLimit;
pub use control::{SealError, seal};
pub use error::LaunchError;
pub use instance::{RUN_DIR, remove_stale, running};
pub use options::{
    DEFAULT_GRANT_QUOTA, Grants, InvalidOption, Launch, MAX_GRANT_QUOTA, NamedFd, SealAt,
    XenDevice, parse_size,
};
pub use output::Output;
pub use overseer::Overseer;
pub use plan::Plan;
pub use qemu::{QEMU_OVERRIDE, QEMU_PROGRAMS, QemuStart};
pub use record::{Absent, RECORD_VERSION, Record, RecordedFd, RecordedFile};
pub use report::{Reporter, variables_from};
pub use spawn::Supervised;
pub use supervise::{Ended, Event};

use crate::handover::{GRANT_BROKER_NAME, GRANT_COPY_NAME};
use options::STDIO;

/// The program's descriptors by number: standard input and outputs, Xen's handles, and
/// those that were named, in their order.
fn fd_names(launch: &Launch) -> Vec<(i32, String)> {
    let stdio = STDIO.iter().map(|name| (*name).to_owned());
    let handles = launch
        .devices
        .iter()
        .map(|device| device.fd_name().to_owned());
    let broker = [GRANT_BROKER_NAME, GRANT_COPY_NAME].map(ToOwned::to_owned);
    let broker = broker.into_iter().filter(|_| launch.is_brokered());
    let named = launch.fds.iter().map(|fd| fd.name.clone());
    let named = named.filter(|name| !STDIO.contains(&name.as_str()));
    (0..)
        .zip(stdio.chain(handles).chain(broker).chain(named))
        .collect()
}

/// A message with all that is behind it.
fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text += &format!(": {error}");
        cause = error.source();
    }
    text
}
