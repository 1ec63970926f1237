// SPDX-License-Identifier: MIT OR Apache-2.0
//! Which processes belong to the one that is asked about, and who else is there.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    error::AuditError,
    procfs::{ProcDir, Unread, processes},
    report::Role,
    status::Stat,
    vantage::{NAMESPACES, PID, Vantage},
};

/// A line of the machine's process table.
struct Row {
    parent: i32,
    namespace: u64,
    uid: u32,
}

/// The processes that belong to `pid`, and their roles: what it started, what is in its
/// pid namespace if that is its own, and what has its uid if that is one domain's alone.
pub(super) fn members(
    pid: i32,
    init: Option<i32>,
    vantage: &Vantage,
) -> Result<BTreeMap<i32, Role>, AuditError> {
    let mut table = BTreeMap::new();
    for pid in processes().map_err(|source| AuditError::own("/proc", source))? {
        if let Some(row) = row(pid) {
            table.insert(pid, row);
        }
    }
    let Some(asked) = table.get(&pid) else {
        return Err(AuditError::Ended { pid });
    };
    let namespace = Some(asked.namespace).filter(|own| !vantage.is_machines(PID, *own));
    let uid = Some(asked.uid).filter(|uid| {
        vantage
            .uids
            .is_some_and(|(first, last)| (first..=last).contains(uid))
    });
    let mut members: BTreeSet<i32> = table
        .iter()
        .filter(|(_, row)| namespace == Some(row.namespace) || uid == Some(row.uid))
        .map(|(pid, _)| *pid)
        .collect();
    members.insert(pid);
    members.extend(init.filter(|init| table.contains_key(init)));
    // Children of namespaces of their own as well.
    loop {
        let before = members.len();
        let children = table
            .iter()
            .filter(|(_, row)| members.contains(&row.parent));
        let children: Vec<_> = children.map(|(pid, _)| *pid).collect();
        members.extend(children);
        if members.len() == before {
            break;
        }
    }
    let role = |member| match member {
        member if member == pid => Role::Program,
        member if init == Some(member) || is_first(member, namespace) => Role::Init,
        _ => Role::Other,
    };
    Ok(members
        .into_iter()
        .map(|member| (member, role(member)))
        .collect())
}

/// Whether it is pid 1 of the program's own pid namespace.
fn is_first(member: i32, namespace: Option<u64>) -> bool {
    let first = || {
        let dir = ProcDir::of(member).ok()?;
        let status = super::process::parse_status(&dir).ok()?;
        let there = dir.namespace(NAMESPACES[PID].1).ok();
        Some(there == namespace && status.pids.last() == Some(&1))
    };
    namespace.is_some() && first() == Some(true)
}

/// None if it has ended meanwhile, or is hidden, as process 1 can be.
fn row(pid: i32) -> Option<Row> {
    let dir = ProcDir::of(pid).ok()?;
    let stat = Stat::parse(&dir.read("stat").ok()?)?;
    let status = super::process::parse_status(&dir).ok()?;
    let namespace = dir.namespace(NAMESPACES[PID].1).unwrap_or(0);
    Some(Row {
        parent: stat.parent,
        namespace,
        uid: status.uids[0],
    })
}

/// Others' namespaces and sessions, to tell what is shared with them.
#[derive(Debug, Default)]
pub(super) struct Neighbours {
    /// Kind and number of a namespace, and who is in it.
    namespaces: BTreeMap<(usize, u64), Vec<i32>>,
    sessions: BTreeMap<i32, Vec<i32>>,
}

impl Neighbours {
    /// Looks at every process of the machine.
    pub(super) fn look() -> Result<Self, AuditError> {
        let mut neighbours = Self::default();
        for pid in processes().map_err(|source| AuditError::own("/proc", source))? {
            let Ok(dir) = ProcDir::of(pid) else { continue };
            for (at, (_, kind, _)) in NAMESPACES.iter().enumerate() {
                if let Ok(number) = dir.namespace(kind) {
                    neighbours
                        .namespaces
                        .entry((at, number))
                        .or_default()
                        .push(pid);
                }
            }
            if let Some(session) = session_of(pid) {
                neighbours.sessions.entry(session).or_default().push(pid);
            }
        }
        Ok(neighbours)
    }

    /// Somebody who is in a namespace still, other than these.
    pub(super) fn in_namespace(&self, kind: usize, number: u64, but: &[i32]) -> Option<i32> {
        let (_, name, _) = NAMESPACES[kind];
        let is_there =
            |pid| ProcDir::of(pid).and_then(|dir| dir.namespace(name)).ok() == Some(number);
        other_than(self.namespaces.get(&(kind, number)), but, is_there)
    }

    /// Somebody who is in a session still, other than these.
    pub(super) fn in_session(&self, session: i32, but: &[i32]) -> Option<i32> {
        let is_there = |pid| session_of(pid) == Some(session);
        other_than(self.sessions.get(&session), but, is_there)
    }
}

fn other_than(pids: Option<&Vec<i32>>, but: &[i32], is_there: impl Fn(i32) -> bool) -> Option<i32> {
    pids?
        .iter()
        .copied()
        .find(|pid| !but.contains(pid) && is_there(*pid))
}

fn session_of(pid: i32) -> Option<i32> {
    let text = ProcDir::of(pid).ok()?.read("stat").ok()?;
    Some(Stat::parse(&text)?.session)
}

/// That a process cannot be read because it is no more.
pub(super) fn is_gone(unread: &Unread) -> bool {
    matches!(unread, Unread::Gone)
}
