// SPDX-License-Identifier: MIT OR Apache-2.0
//! A process of the test's, forked once, and how it is told what to do. It takes several
//! steps with one message: to go from one process to another costs more than most steps.

use std::{
    io::{self, Read, Write},
    os::unix::net::UnixStream,
    panic::{AssertUnwindSafe, catch_unwind},
};

use nix::{
    errno::Errno,
    sys::{prctl::set_pdeathsig, signal::Signal, wait::waitpid},
    unistd::{ForkResult, Pid, fork},
};

use crate::{
    kernel::Answer,
    places::Places,
    process::{Order, Process, Shared},
};

/// Whoever takes steps.
pub(crate) enum Party {
    /// This process.
    Ourselves(Box<Process>),
    Worker(Worker),
}

impl Party {
    pub(crate) fn ourselves(shared: &Shared) -> Self {
        Self::Ourselves(Box::new(Process::new(shared.clone())))
    }

    /// Does what it is told, and waits for the answers.
    pub(crate) fn obey(&mut self, places: Places, orders: &[Order]) -> Vec<Answer> {
        match self {
            Self::Ourselves(process) => process.obey(places, orders),
            Self::Worker(worker) => {
                worker.tell(places, orders);
                worker.answers(orders.len())
            }
        }
    }
}

/// Closes and unmaps all that these have, all at once.
pub(crate) fn end_sequence(parties: &mut [Party]) {
    let end = [Order::End];
    for party in &mut *parties {
        match party {
            Party::Ourselves(process) => drop(process.obey(Places::EMPTY, &end)),
            Party::Worker(worker) if worker.busy => worker.tell(Places::EMPTY, &end),
            Party::Worker(_) => {}
        }
    }
    for party in parties {
        if let Party::Worker(worker) = party
            && std::mem::take(&mut worker.busy)
        {
            worker.answers(1);
        }
    }
}

pub(crate) struct Worker {
    pid: Pid,
    line: UnixStream,
    /// It was told something in this sequence.
    busy: bool,
}

impl Worker {
    pub(crate) fn start(shared: &Shared) -> Party {
        let (ours, theirs) = UnixStream::pair().unwrap();
        // SAFETY: the child takes no lock that another thread may have: the only other one
        // is the test harness's first, which waits.
        match unsafe { fork() }.unwrap() {
            ForkResult::Parent { child } => Party::Worker(Self {
                pid: child,
                line: ours,
                busy: false,
            }),
            ForkResult::Child => {
                drop(ours);
                // It does not outlive the test, whatever becomes of that.
                set_pdeathsig(Signal::SIGKILL).unwrap();
                let mut process = Process::new(shared.clone());
                let work = AssertUnwindSafe(|| work(&mut process, theirs));
                let status = i32::from(catch_unwind(work).is_err());
                // SAFETY: nothing of the parent's is to run or be written here.
                unsafe { libc::_exit(status) }
            }
        }
    }

    fn tell(&mut self, places: Places, orders: &[Order]) {
        let mut words = places.words().to_vec();
        words.extend(orders.iter().map(|&order| u64::from(order)));
        write_words(&mut self.line, &words).unwrap();
        self.busy = true;
    }

    fn answers(&mut self, count: usize) -> Vec<Answer> {
        let words = read_words(&mut self.line).expect("a process of the test ended");
        let answer = |pair: &[u64]| match i32::try_from(pair[0]).unwrap() {
            0 => Ok(pair[1]),
            errno => Err(Errno::from_raw(errno)),
        };
        let answers: Vec<_> = words.chunks_exact(2).map(answer).collect();
        assert_eq!(answers.len(), count);
        answers
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        // A message of nothing. That our end of the line closes tells nothing: it stays
        // open in those that were forked later.
        let _ = write_words(&mut self.line, &[]);
        let _ = waitpid(self.pid, None);
    }
}

fn work(process: &mut Process, mut line: UnixStream) {
    loop {
        let words = read_words(&mut line).unwrap();
        let Some((places, orders)) = words.split_first_chunk() else {
            return;
        };
        let orders: Vec<_> = orders.iter().map(|&word| Order::from(word)).collect();
        let answers = process.obey(Places::from_words(*places), &orders);
        let pair = |answer: Answer| match answer {
            Ok(value) => [0, value],
            Err(errno) => [errno as u64, 0],
        };
        let words: Vec<_> = answers.into_iter().flat_map(pair).collect();
        write_words(&mut line, &words).unwrap();
    }
}

fn write_words(line: &mut UnixStream, words: &[u64]) -> io::Result<()> {
    let mut bytes = (words.len() as u64).to_ne_bytes().to_vec();
    bytes.extend(words.iter().flat_map(|word| word.to_ne_bytes()));
    line.write_all(&bytes)
}

fn read_words(line: &mut UnixStream) -> io::Result<Vec<u64>> {
    let mut count = [0; 8];
    line.read_exact(&mut count)?;
    let count = usize::try_from(u64::from_ne_bytes(count)).unwrap();
    let mut bytes = vec![[0; 8]; count];
    line.read_exact(bytes.as_flattened_mut())?;
    Ok(bytes.into_iter().map(u64::from_ne_bytes).collect())
}
