// SPDX-License-Identifier: MIT OR Apache-2.0
//! The filters together, as the kernel runs them.

use super::*;
use crate::confine::{
    bpf::interpreter::{ALLOW, ENOSYS, EPERM, I386, KILL, NOTIFY, audit, run},
    qemu::XENS,
    xen_requests::{POLICY, sealed_but},
};

const NATIVE: Arch = Arch::NATIVE.unwrap();

/// The kernel takes the most severe answer; a kill is negative to it.
fn answer(programs: &[BpfProgram], call: &str, arguments: [u64; 6]) -> u32 {
    let number = u32::try_from(number(NATIVE, call).unwrap()).unwrap();
    let answers = programs
        .iter()
        .map(|p| run(p, audit(NATIVE), number, arguments));
    let action = |answer: &u32| (answer & libc::SECCOMP_RET_ACTION_FULL).cast_signed();
    answers.min_by_key(action).unwrap()
}

fn refusing() -> Vec<BpfProgram> {
    let never = sealed_but(XENS).unwrap();
    vec![never, asking().unwrap(), allowing(Denied::Errno).unwrap()]
}

fn telling() -> Vec<BpfProgram> {
    vec![allowing(Denied::Notify).unwrap()]
}

#[test]
fn each_call_of_the_tables_is_asked_about_and_its_kin_are_refused() {
    for name in UNTIL_GIVEN_UP.iter().flat_map(|calls| calls.names) {
        for arguments in [[0; 6], [u64::MAX; 6]] {
            assert_eq!(answer(&refusing(), name, arguments), NOTIFY, "{name}");
            assert_eq!(answer(&telling(), name, arguments), NOTIFY, "{name}");
        }
    }
    for name in [
        "setreuid", "setfsuid", "mount", "unshare", "setns", "ptrace", "bpf", "capset",
    ] {
        let expected = match name {
            "capset" => [ALLOW; 2],
            _ => [EPERM, NOTIFY],
        };
        let answers = [refusing(), telling()].map(|p| answer(&p, name, [0; 6]));
        assert_eq!(answers, expected, "{name}");
    }
    // Not every architecture has them all.
    let never = NEVER.iter().flat_map(|calls| calls.names);
    for name in never.filter(|name| number(NATIVE, name).is_some()) {
        assert_eq!(answer(&refusing(), name, [0; 6]), EPERM, "{name}");
        assert_eq!(answer(&telling(), name, [0; 6]), NOTIFY, "{name}");
    }
    assert_eq!(answer(&refusing(), "clone3", [0; 6]), ENOSYS);
}

#[test]
fn it_makes_threads_and_no_processes() {
    let thread =
        u64::from((libc::CLONE_THREAD | libc::CLONE_VM | libc::CLONE_SIGHAND).cast_unsigned());
    let user = u64::from(libc::CLONE_NEWUSER.cast_unsigned());
    for (flags, expected) in [
        (thread, ALLOW),
        (0, EPERM),
        (17, EPERM),
        (thread | user, EPERM),
    ] {
        assert_eq!(
            answer(&refusing(), "clone", [flags, 0, 0, 0, 0, 0]),
            expected
        );
    }
}

#[test]
fn xens_requests_are_those_of_their_table() {
    for row in POLICY {
        let arguments = [3, row.number.into(), 0, 0, 0, 0];
        let answers = [refusing(), telling()].map(|p| answer(&p, "ioctl", arguments));
        let expected = match row.allowed {
            Allowed::Always => [ALLOW; 2],
            _ if XENS.contains(&row.number) => [NOTIFY; 2],
            Allowed::UntilSealed | Allowed::Never => [EPERM, NOTIFY],
        };
        assert_eq!(answers, expected, "{}", row.request);
    }
}

#[test]
fn what_it_opens_while_it_is_root_is_asked_about() {
    for (call, allowed) in UNTIL_ARGUMENTS
        .iter()
        .flat_map(|checked| checked.cases.iter().map(|case| (checked.call, case)))
    {
        let mut arguments = [0; 6];
        for test in allowed.tests {
            if let Test::Is(at, value) = *test {
                arguments[usize::from(at)] = value.into();
            }
        }
        assert_eq!(
            answer(&refusing(), call, arguments),
            NOTIFY,
            "{}",
            allowed.what
        );
        assert_eq!(
            answer(&telling(), call, arguments),
            NOTIFY,
            "{}",
            allowed.what
        );
    }
    let inet = [u64::from(libc::AF_NETLINK.cast_unsigned()), 3, 0, 0, 0, 0];
    assert_eq!(answer(&refusing(), "socket", inet), EPERM);
    let local = [u64::from(libc::AF_UNIX.cast_unsigned()), 1, 0, 0, 0, 0];
    assert_eq!(answer(&refusing(), "socket", local), ALLOW);
}

#[test]
fn another_architectures_calls_end_it() {
    for program in refusing().iter().chain(&telling()) {
        assert_eq!(run(program, I386, 23, [0; 6]), KILL);
    }
}
