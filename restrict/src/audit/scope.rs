// SPDX-License-Identifier: MIT OR Apache-2.0
//! Which processes belong to the one that is asked about, and who else is there.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    error::AuditError,
    procfs::{ProcDir, processes},
    report::Role,
    status::Stat,
    vantage::{NAMESPACES, PID, Vantage},
};
use crate::{confine::beginning::beginning, launch};

/// A line of the machine's process table.
struct Row {
    parent: i32,
    namespace: u64,
}

/// The machine's processes, by number.
type Table = BTreeMap<i32, Row>;

/// The processes that belong to `pid`, and their roles: what it started, what is in its
/// pid namespace if that is its own, else what has its uid if that is one domain's alone.
pub(super) fn members(
    pid: i32,
    init: Option<i32>,
    vantage: &Vantage,
) -> Result<BTreeMap<i32, Role>, AuditError> {
    let pids = processes().map_err(|source| AuditError::own("/proc", source))?;
    let table: Table = pids
        .into_iter()
        .filter_map(|other| Some((other, row(other, pid)?)))
        .collect();
    let Some(asked) = table.get(&pid) else {
        return Err(AuditError::Ended { pid });
    };
    let namespace = Some(asked.namespace).filter(|own| !vantage.is_machines(PID, *own));
    let mut members: BTreeSet<i32> = match namespace {
        Some(own) => having(&table, |row| row.namespace == own),
        // A process whose parent has ended is nobody's child any more.
        None => match uid(pid).filter(|uid| vantage.is_one_domains(*uid)) {
            Some(own) => {
                let others = others_programs(&table, pid);
                let same = table.keys().copied().filter(|pid| uid(*pid) == Some(own));
                same.filter(|pid| !others.contains(pid)).collect()
            }
            None => BTreeSet::new(),
        },
    };
    members.insert(pid);
    members.extend(init.filter(|init| table.contains_key(init)));
    let mut members = with_children(&table, members);
    // Who looks changes all the time; it is no matter that the process started it.
    let this = std::process::id().cast_signed();
    members.retain(|member| *member == pid || *member != this);
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

/// Program and init, if nobody else is in their pid namespace, of which this is the /proc: so it
/// takes no look at all processes of the machine.
pub(super) fn alone(pid: i32, init: i32, namespace: &ProcDir) -> Option<BTreeMap<i32, Role>> {
    // From this process's namespace straight to theirs.
    let there = |outer| {
        let dir = ProcDir::of(outer).ok()?;
        let namespace = dir.namespace(NAMESPACES[PID].1).ok()?;
        match super::process::parse_status(&dir).ok()?.pids[..] {
            [seen, there] if seen == outer => Some((namespace, there)),
            _ => None,
        }
    };
    let ((program_in, program), (init_in, first)) = (there(pid)?, there(init)?);
    let all = namespace.numbers(".").ok()?;
    let are_all = all.into_iter().eq(BTreeSet::from([program, first]));
    let members = BTreeMap::from([(pid, Role::Program), (init, Role::Init)]);
    (program_in == init_in && are_all).then_some(members)
}

fn having(table: &Table, is_so: impl Fn(&Row) -> bool) -> BTreeSet<i32> {
    let rows = table.iter().filter(|(_, row)| is_so(row));
    rows.map(|(pid, _)| *pid).collect()
}

/// These, and all that they started, in namespaces of their own as well.
fn with_children(table: &Table, mut members: BTreeSet<i32>) -> BTreeSet<i32> {
    loop {
        let before = members.len();
        let children = having(table, |row| members.contains(&row.parent));
        members.extend(children);
        if members.len() == before {
            return members;
        }
    }
}

/// A domain's other programs, if `dm-restrict` started them: each has a record of its own.
fn others_programs(table: &Table, pid: i32) -> BTreeSet<i32> {
    let recorded = launch::running().unwrap_or_default().into_iter();
    let others = recorded
        .map(|record| record.pid)
        .filter(|other| *other != pid);
    with_children(table, others.collect())
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

/// None if it has ended meanwhile, or is hidden, as process 1 can be, or is the kernel's and
/// not asked about.
fn row(pid: i32, asked: i32) -> Option<Row> {
    if pid != asked && is_kernels(pid) {
        return None;
    }
    let dir = ProcDir::of(pid).ok()?;
    Some(Row {
        parent: Stat::parse(&dir.read("stat").ok()?)?.parent,
        namespace: dir.namespace(NAMESPACES[PID].1).unwrap_or(0),
    })
}

/// Its real uid.
fn uid(pid: i32) -> Option<u32> {
    let dir = ProcDir::of(pid).ok()?;
    let status = super::process::parse_status(&dir).ok()?;
    Some(status.uids[0])
}

/// Most of what /proc lists on a machine with little to do.
fn is_kernels(pid: i32) -> bool {
    let mut room = [0; 2048];
    let text = beginning(&format!("/proc/{pid}/stat"), &mut room);
    let stat = text.ok().and_then(Stat::parse);
    stat.is_some_and(|stat| stat.is_kernels)
}

/// Others' namespaces and sessions, to tell what is shared with them.
#[derive(Debug, Default)]
pub(super) struct Neighbours {
    /// Kind and number of a namespace, and which process and thread is in it.
    namespaces: BTreeMap<(usize, u64), Vec<(i32, i32)>>,
    sessions: BTreeMap<i32, Vec<i32>>,
}

impl Neighbours {
    /// Looks at every thread of the machine but the kernel's, which are many, and share the
    /// first namespaces with others.
    pub(super) fn look() -> Result<Self, AuditError> {
        let mut neighbours = Self::default();
        for pid in processes().map_err(|source| AuditError::own("/proc", source))? {
            if is_kernels(pid) {
                continue;
            }
            let Ok(dir) = ProcDir::of(pid) else { continue };
            let stat = dir.read("stat").ok().and_then(|text| Stat::parse(&text));
            for tid in dir.numbers("task").unwrap_or_default() {
                neighbours.add(pid, tid, &dir);
            }
            if let Some(Stat { session, .. }) = stat {
                neighbours.sessions.entry(session).or_default().push(pid);
            }
        }
        Ok(neighbours)
    }

    fn add(&mut self, pid: i32, tid: i32, process: &ProcDir) {
        let Ok(thread) = process.thread(tid) else {
            return;
        };
        for (at, (_, kind, _)) in NAMESPACES.iter().enumerate() {
            if let Ok(number) = thread.namespace(kind) {
                let there = self.namespaces.entry((at, number)).or_default();
                there.push((pid, tid));
            }
        }
    }

    /// A process that is in a namespace still, other than these.
    pub(super) fn in_namespace(&self, kind: usize, number: u64, but: &[i32]) -> Option<i32> {
        let (_, name, _) = NAMESPACES.get(kind)?;
        let there = self.namespaces.get(&(kind, number))?.iter();
        let mut others = there.filter(|(pid, _)| !but.contains(pid));
        let is_there = |pid, tid| {
            let thread = ProcDir::of(pid).and_then(|process| process.thread(tid));
            thread.and_then(|thread| thread.namespace(name)).ok() == Some(number)
        };
        others
            .find(|(pid, tid)| is_there(*pid, *tid))
            .map(|(pid, _)| *pid)
    }

    /// A process that is in a session still, other than these.
    pub(super) fn in_session(&self, session: i32, but: &[i32]) -> Option<i32> {
        let mut others = self
            .sessions
            .get(&session)?
            .iter()
            .filter(|pid| !but.contains(pid));
        others
            .find(|pid| session_of(**pid) == Some(session))
            .copied()
    }
}

fn session_of(pid: i32) -> Option<i32> {
    let text = ProcDir::of(pid).ok()?.read("stat").ok()?;
    Some(Stat::parse(&text)?.session)
}

#[cfg(test)]
mod tests {
    use std::{
        fs,
        process::{Child, Command},
        time::{Duration, Instant},
    };

    use super::*;

    struct Ends(Child);

    impl Drop for Ends {
        fn drop(&mut self) {
            let _ = self.0.kill();
            let _ = self.0.wait();
        }
    }

    fn children(of: u32) -> Vec<i32> {
        let path = format!("/proc/{of}/task/{of}/children");
        let text = fs::read_to_string(path).unwrap_or_default();
        text.split_whitespace()
            .map(|pid| pid.parse().unwrap())
            .collect()
    }

    /// An init that has so many children in their own pid namespace, and its /proc.
    fn namespace(script: &str, count: usize) -> (Ends, i32, Vec<i32>, ProcDir) {
        let mut unshare = Command::new("unshare");
        unshare.args([
            "--pid",
            "--fork",
            "--kill-child",
            "--mount-proc",
            "sh",
            "-c",
            script,
        ]);
        let unshare = Ends(unshare.spawn().expect("run the tests as root"));
        let end = Instant::now() + Duration::from_secs(20);
        loop {
            if let [init] = children(unshare.0.id())[..] {
                let started = children(init.cast_unsigned());
                if started.len() == count {
                    let proc = ProcDir::at(&format!("/proc/{init}/root/proc")).unwrap();
                    return (unshare, init, started, proc);
                }
            }
            assert!(Instant::now() < end, "{script}: it does not start");
        }
    }

    #[test]
    fn who_is_alone_in_a_namespace_is_known_by_its_proc() {
        let (_ends, init, started, proc) = namespace("sleep 60; true", 1);
        let program = started[0];
        let both = BTreeMap::from([(program, Role::Program), (init, Role::Init)]);
        assert_eq!(alone(program, init, &proc), Some(both));
        let (_others, other_init, others, others_proc) = namespace("sleep 60 & sleep 60; true", 2);
        for (pid, init, proc) in [
            (others[0], other_init, &others_proc),
            (others[1], other_init, &others_proc),
            // Not of that namespace, or not its init.
            (program, init, &others_proc),
            (program, other_init, &proc),
            (program, program, &proc),
            (program, 1, &proc),
            (program, i32::MAX, &proc),
        ] {
            assert_eq!(alone(pid, init, proc), None, "{pid} {init}");
        }
    }
}
