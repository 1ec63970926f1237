// SPDX-License-Identifier: MIT OR Apache-2.0
//! The six kinds of namespaces.

use super::{Judged, View};
use crate::{
    audit::{
        process::Thread,
        report::{Role, Verdict},
        vantage::{NAMESPACES, PID},
    },
    confine::Mechanism,
};

impl View<'_> {
    pub(super) fn namespace(&self, mechanism: Mechanism) -> Judged {
        let row = NAMESPACES
            .iter()
            .position(|(which, ..)| *which == mechanism);
        let Some(kind) = row else {
            return Judged::new("own", "not a namespace", Verdict::NotObserved);
        };
        let own_pids = self.own_pids();
        let deviations = self.deviations(|process, thread| {
            // An init is not of the program's control group.
            if mechanism == Mechanism::CgroupNs && process.role == Role::Init {
                return None;
            }
            let number = thread.namespaces[kind];
            if self.vantage.is_machines(kind, number) {
                return Some("the machine's own".to_owned());
            }
            if let Some(pid) = self.neighbours.in_namespace(kind, number, &own_pids) {
                return Some(format!("one that process {pid} is in as well"));
            }
            if kind == PID && self.vantage.is_machines(PID, thread.pid_for_children) {
                return Some("what it starts would be in the machine's own".to_owned());
            }
            (mechanism == Mechanism::NetNs)
                .then(|| reachable(thread))
                .flatten()
        });
        let (expected, more) = match mechanism {
            Mechanism::NetNs => (
                "own, with only a loopback interface, down",
                ", only lo, down",
            ),
            _ => ("own", ""),
        };
        Judged::of(expected, format!("own {}{more}", self.all()), &deviations)
    }
}

/// What there is in its network.
fn reachable(thread: &Thread) -> Option<String> {
    let network = thread.place.network.as_ref()?;
    let others = network.interfaces.iter().filter(|name| *name != "lo");
    // Who makes an interface names it.
    let others: Vec<_> = others
        .map(|name| format!("{}", name.escape_default()))
        .collect();
    if !others.is_empty() {
        return Some(format!("own, with {}", others.join(", ")));
    }
    network.loopback_up.then(|| "own, with lo up".to_owned())
}
