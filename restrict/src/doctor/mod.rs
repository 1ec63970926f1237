// SPDX-License-Identifier: MIT OR Apache-2.0
//! What this machine offers, and what to do about the rest: asked of the kernel by doing
//! it, where that is possible, in a thread that gives up what it got when it ends.
//!
//! [`examine`] changes nothing: not the calling process, not the machine.

mod host;
mod kernel;
mod machine;
mod mechanisms;
mod qemu;
mod report;
mod users;
mod xen;

use crate::confine::Mechanism;
use host::Host;
use report::Finding;

pub use report::{Item, Need, Report, SCHEMA, State, Topic, Verdict};

/// What is looked at, besides each mechanism.
struct Row {
    topic: Topic,
    name: &'static str,
    needed_by: Option<Need>,
    look: fn(&Host) -> Finding,
}

const fn row(
    topic: Topic,
    name: &'static str,
    needed_by: Option<Need>,
    look: fn(&Host) -> Finding,
) -> Row {
    Row {
        topic,
        name,
        needed_by,
        look,
    }
}

use Need::{Audit, Run, Xen};
use Topic::{Kernel, Machine, Users};

const ROWS: [Row; 23] = [
    row(Kernel, "linux", Some(Run), kernel::linux),
    row(
        Kernel,
        "restrict-requests",
        Some(Xen),
        kernel::restrict_requests,
    ),
    row(
        Kernel,
        "user-notification",
        Some(Run),
        kernel::user_notification,
    ),
    row(Kernel, "mount-setattr", None, kernel::mount_setattr),
    row(Kernel, "pidfd-getfd", Some(Audit), kernel::pidfd_getfd),
    row(Topic::Xen, "xen", Some(Xen), xen::hypervisor),
    row(Topic::Xen, "dom0", Some(Xen), xen::dom0),
    row(Topic::Xen, "privcmd", Some(Xen), xen::privcmd),
    row(Topic::Xen, "evtchn", Some(Xen), xen::evtchn),
    row(Topic::Xen, "gntdev", Some(Xen), xen::gntdev),
    row(Topic::Xen, "gntalloc", None, xen::gntalloc),
    row(Topic::Xen, "kernel-holes", None, xen::holes),
    row(Topic::Xen, "xenstored", None, xen::xenstored),
    row(Topic::Xen, "qemu", None, qemu::override_of_xl),
    row(Users, "range-base", None, users::range_base),
    row(Users, "shared", None, users::shared),
    row(Users, "reaper", None, users::reaper),
    row(Users, "subuid", None, users::subuid),
    row(Machine, "privileges", Some(Run), machine::privileges),
    row(Machine, "all-processes", Some(Run), machine::all_processes),
    row(Machine, "run-directory", Some(Run), machine::run_directory),
    row(Machine, "yama", Some(Audit), machine::yama),
    row(Machine, "lsm", None, machine::lsm),
];

/// Looks at the machine, as the calling process sees it.
#[must_use]
pub fn examine() -> Report {
    let host = Host::look();
    let mechanisms = Mechanism::ALL.into_iter().map(|mechanism| {
        let needed_by = (!mechanism.depends_on_host()).then_some(Run);
        let finding = mechanisms::look(mechanism, &host);
        finding.item(Topic::Mechanisms, mechanism.name(), needed_by)
    });
    let rows = ROWS
        .iter()
        .map(|row| (row.look)(&host).item(row.topic, row.name, row.needed_by));
    Report::new(mechanisms.chain(rows).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn looking_twice_sees_the_same_and_leaves_the_process_as_it_was() {
        let process = || {
            let read = |file: &str| std::fs::read_to_string(format!("/proc/thread-self/{file}"));
            let status = read("status").unwrap();
            let kept = ["Uid", "Cap", "NoNewPrivs", "Seccomp:", "Groups", "Umask"];
            let kept = |line: &&str| kept.iter().any(|name| line.starts_with(name));
            let status: Vec<_> = status.lines().filter(kept).map(str::to_owned).collect();
            let namespaces = ["mnt", "ipc", "net", "pid_for_children", "uts", "cgroup"];
            let namespaces = namespaces
                .map(|ns| std::fs::read_link(format!("/proc/thread-self/ns/{ns}")).unwrap());
            (
                status,
                namespaces,
                read("mountinfo").unwrap(),
                read("cgroup").unwrap(),
                std::env::current_dir().unwrap(),
            )
        };
        let before = process();
        let first = examine();
        assert_eq!(process(), before);
        assert_eq!(examine(), first);
    }

    #[test]
    fn every_mechanism_has_one_item_and_no_name_is_used_twice() {
        let report = examine();
        for mechanism in Mechanism::ALL {
            let of_it = report
                .items
                .iter()
                .filter(|item| item.name == mechanism.name());
            assert_eq!(of_it.count(), 1, "{mechanism}");
        }
        let mut names: Vec<_> = report.items.iter().map(|item| item.name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), Mechanism::ALL.len() + ROWS.len());
        for item in &report.items {
            assert!(!item.seen.is_empty(), "{item:?}");
            assert_eq!(
                item.remedy.is_none(),
                item.state == State::Offered,
                "{item:?}"
            );
        }
    }
}
