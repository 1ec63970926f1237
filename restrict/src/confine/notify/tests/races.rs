// SPDX-License-Identifier: MIT OR Apache-2.0
//! Threads that race with the seal, and numbers that are used again.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicU32, Ordering::SeqCst},
};

use super::*;

/// Once sealing is done, no call that begins is let through, whoever else is asking.
#[test]
fn no_thread_slips_through_while_it_is_sealed() {
    const THREADS: usize = 8;
    #[derive(Default)]
    struct Seen {
        done: AtomicBool,
        stop: AtomicBool,
        slipped: AtomicU32,
        refused: AtomicU32,
    }
    let seen = Arc::new(Seen::default());
    let theirs = Arc::clone(&seen);
    let (reader, writer) = io::pipe().unwrap();
    let fd = fd(&writer);
    let (mut notifier, threads) = under(asking_about(FIONBIO), move || {
        let one = || {
            let seen = Arc::clone(&theirs);
            thread::spawn(move || {
                let zero = 0_i32;
                let at = ptr::from_ref(&zero).addr() as u64;
                while !seen.stop.load(SeqCst) {
                    let late = seen.done.load(SeqCst);
                    let refused = ioctl(fd, FIONBIO.into(), at) == EPERM;
                    seen.refused.fetch_add(refused.into(), SeqCst);
                    seen.slipped.fetch_add((late && !refused).into(), SeqCst);
                    // Without a pause it would be inside for all that is known.
                    thread::sleep(Duration::from_micros(300));
                }
            })
        };
        let threads: Vec<_> = (0..THREADS).map(|_| one()).collect();
        threads
            .into_iter()
            .for_each(|thread| thread.join().unwrap());
    });
    notifier.until_sealed = |request| request == FIONBIO;
    assert_eq!(serve(&mut notifier, 200), []);
    notifier.seal();
    wait_for("the seal", || {
        notifier.serve().unwrap();
        notifier.in_flight().is_empty()
    });
    seen.done.store(true, SeqCst);
    wait_for("refusals", || {
        notifier.serve().unwrap();
        seen.refused.load(SeqCst) > 200
    });
    seen.stop.store(true, SeqCst);
    wait_for("their end", || {
        notifier.serve().unwrap();
        threads.is_finished()
    });
    threads.join().unwrap();
    assert_eq!(seen.slipped.load(SeqCst), 0);
    drop((reader, writer));
}

/// `struct clone_args`, as far as a number can be chosen.
#[repr(C)]
#[derive(Default)]
struct CloneArguments {
    fields: [u64; 4],
    exit_signal: u64,
    more: [u64; 3],
    set_tid: u64,
    set_tid_size: u64,
}

/// A child of that number, which sleeps.
fn child_numbered(number: u32) -> Pid {
    let numbers = [number];
    let arguments = CloneArguments {
        exit_signal: libc::SIGCHLD.cast_unsigned().into(),
        set_tid: numbers.as_ptr().addr() as u64,
        set_tid_size: 1,
        ..CloneArguments::default()
    };
    let at = (&raw const arguments).addr() as u64;
    let size = size_of_val(&arguments) as u64;
    let child = call(libc::SYS_clone3, [at, size, 0, 0]);
    let child = child.expect("run the tests as root, on Linux 5.5 or later");
    if child == 0 {
        loop {
            // SAFETY: sleeps until it is killed.
            unsafe { libc::pause() };
        }
    }
    Pid::from_raw(i32::try_from(child).unwrap())
}

/// The number of a thread that was let through, and has ended, is another process's: that
/// one is looked at, and has nothing to do with it.
#[test]
fn a_number_that_is_used_again_does_not_hold_the_seal_up() {
    let (give, take) = mpsc::channel();
    let (mut notifier, thread) = under(asking_about(FIONBIO), move || {
        give.send(tid()).unwrap();
        ioctl(u64::MAX, FIONBIO.into(), 0)
    });
    notifier.until_sealed = |request| request == FIONBIO;
    let number = take.recv().unwrap();
    assert_eq!(serve(&mut notifier, 1), []);
    assert_eq!(thread.join().unwrap(), Err(Errno::EBADF));
    // A thread ends a little after it has been joined.
    wait_for("its end", || !exists(number));
    let other = child_numbered(number);
    assert_eq!(other.as_raw(), number.cast_signed());
    notifier.seal();
    wait_for("the other to sleep", || notifier.in_flight().is_empty());
    kill(other, nix::sys::signal::Signal::SIGKILL).unwrap();
    nix::sys::wait::waitpid(other, None).unwrap();
}
