// SPDX-License-Identifier: MIT OR Apache-2.0
//! Which processes belong to the one that is asked about, and who else is there.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    error::AuditError,
    procfs::{ProcDir, Unread, number_in, processes},
    report::Role,
    status::Stat,
    vantage::{NAMESPACES, PID, Vantage},
};
use crate::{confine::proc_file::beginning, launch};

/// A line of the machine's process table.
struct Row {
    parent: i32,
    namespace: u64,
    /// The real one.
    uid: u32,
    /// Nobody has waited for it.
    has_ended: bool,
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
    let table = table(pid)?;
    let Some(asked) = table.get(&pid) else {
        return Err(AuditError::Ended { pid });
    };
    let namespace = Some(asked.namespace).filter(|own| !vantage.is_machines(PID, *own));
    let mut members: BTreeSet<i32> = match (namespace, asked.uid) {
        (Some(own), _) => having(&table, |row| row.namespace == own),
        // A process whose parent has ended is nobody's child any more.
        (None, own) if vantage.is_one_domains(own) => {
            let others = others_programs(&table, pid);
            let mut same = having(&table, |row| row.uid == own);
            same.retain(|other| !others.contains(other));
            same
        }
        (None, _) => BTreeSet::new(),
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

/// What is said of a program that is not alone.
pub(super) const OTHERS: &str = "who else is in its pid namespace";

pub(super) fn both(pid: i32, init: i32) -> BTreeMap<i32, Role> {
    BTreeMap::from([(pid, Role::Program), (init, Role::Init)])
}

/// Whether nobody else is in their pid namespace, of which this is the /proc: so it takes no look
/// at all processes of the machine, during which somebody could start and end.
pub(super) fn alone(pid: i32, init: i32, namespace: &ProcDir) -> Result<bool, Unread> {
    let kind = NAMESPACES[PID].1;
    // From this process's namespace straight to theirs.
    let there = |outer| {
        let dir = ProcDir::of(outer)?;
        let number = match super::process::parse_status(&dir)?.pids[..] {
            [seen, there] if seen == outer => Some(there),
            _ => None,
        };
        Ok((dir.namespace(kind)?, number))
    };
    let ((program_in, program), (init_in, first)) = (there(pid)?, there(init)?);
    let here = number_in(&namespace.link("1/ns/pid")?, kind);
    let (Some(program), Some(1)) = (program, first) else {
        return Ok(false);
    };
    let all = namespace.numbers(".")?;
    Ok(program_in == init_in && here == Some(init_in) && all == [1, program])
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

/// How often /proc is listed again for what came meanwhile. Who starts one after the other has to
/// be missed each time; and nobody else can keep a look from its end.
const LISTS: usize = 50;

/// Of who has ended before he was read it is not known whose he was, and he can have started
/// another: so it is listed again, until each that is there was read.
fn table(asked: i32) -> Result<Table, AuditError> {
    let (mut table, mut known) = (Table::new(), BTreeSet::new());
    for _ in 0..LISTS {
        let listed = processes().map_err(|source| AuditError::own("/proc", source))?;
        let mut missed = false;
        for pid in listed {
            if known.contains(&pid) {
                continue;
            }
            match row(pid, asked) {
                Ok(row) => {
                    known.insert(pid);
                    missed |= row.as_ref().is_some_and(|row| row.has_ended);
                    table.extend(row.map(|row| (pid, row)));
                }
                Err(Unread::Gone) => missed = true,
                Err(unread) => return Err(AuditError::of(asked, unread)),
            }
        }
        if !missed {
            break;
        }
    }
    Ok(table)
}

/// None if it is the kernel's and not asked about, or hidden, as process 1 can be.
fn row(pid: i32, asked: i32) -> Result<Option<Row>, Unread> {
    if pid != asked && is_kernels(pid) {
        return Ok(None);
    }
    let Some(dir) = shown(ProcDir::of(pid))? else {
        return Ok(None);
    };
    let Some(text) = shown(dir.read("stat"))? else {
        return Ok(None);
    };
    let stat = Stat::parse(&text).ok_or_else(|| Unread::nonsense("stat"))?;
    let status = super::process::parse_status(&dir)?;
    let namespace = match dir.namespace(NAMESPACES[PID].1) {
        // It has ended, and was not waited for.
        Err(Unread::Gone) if status.has_ended() => None,
        namespace => shown(namespace)?,
    };
    Ok(Some(Row {
        parent: stat.parent,
        namespace: namespace.unwrap_or(0),
        uid: status.uids[0],
        has_ended: status.has_ended(),
    }))
}

/// None of what is hidden.
fn shown<T>(read: Result<T, Unread>) -> Result<Option<T>, Unread> {
    match read {
        Ok(read) => Ok(Some(read)),
        Err(Unread::Denied(_)) => Ok(None),
        Err(failed) => Err(failed),
    }
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
    fn one_that_starts_another_and_ends_at_once_is_seen() {
        let script = "sleep 60 & export F='sh -c \"$F\" &'; sh -c \"$F\"; sleep 60; true";
        let (_ends, init, started, _) = namespace(script, 3);
        let first = *started.iter().min().unwrap();
        let vantage = Vantage::new().unwrap();
        for _ in 0..200 {
            let members = members(first, Some(init), &vantage).unwrap();
            assert!(members.len() > 3, "{members:?}");
        }
    }

    #[test]
    fn who_is_alone_in_a_namespace_is_known_by_its_proc() {
        let (_ends, init, started, proc) = namespace("sleep 60; true", 1);
        let program = started[0];
        assert!(alone(program, init, &proc).unwrap());
        let (_others, other_init, others, others_proc) = namespace("sleep 60 & sleep 60; true", 2);
        for (pid, init, proc) in [
            (others[0], other_init, &others_proc),
            (others[1], other_init, &others_proc),
            // Not of that namespace, or not its init.
            (program, init, &others_proc),
            (program, other_init, &proc),
            (program, program, &proc),
        ] {
            assert!(!alone(pid, init, proc).unwrap(), "{pid} {init}");
        }
        let gone = alone(program, i32::MAX, &proc);
        assert!(matches!(gone, Err(Unread::Gone)), "{gone:?}");
    }
}
