// SPDX-License-Identifier: MIT OR Apache-2.0
//! Where one mechanism cannot be applied, the program is not started, and the message says
//! which, why, and what to do. Each system call of each mechanism fails in turn.

use libc::{EBUSY, EDQUOT, EINVAL, ENOSPC, ENOSYS, EPERM};

use crate::support::{
    deny::{self, Deny, When, When::*},
    launcher::{Ended, Launcher},
    static_program,
};

struct Row {
    mechanism: &'static str,
    deny: Deny,
    /// Of the mechanism's own options.
    options: &'static [&'static str],
    /// That the message has.
    says: &'static [&'static str],
}

const fn row(
    mechanism: &'static str,
    call: libc::c_long,
    when: &'static [When],
    errno: i32,
    says: &'static [&'static str],
) -> Row {
    Row {
        mechanism,
        deny: Deny { call, when, errno },
        options: &[],
        says,
    }
}

const fn with(row: Row, options: &'static [&'static str]) -> Row {
    Row { options, ..row }
}

/// `SOCK_DGRAM | SOCK_CLOEXEC`.
const DATAGRAM: u32 = 0x8_0002;
const NAMESPACE: &[&str] = &["unshare", "CAP_SYS_ADMIN"];
/// `SECCOMP_FILTER_FLAG_NEW_LISTENER`.
const LISTENER: u32 = 8;

const TABLE: &[Row] = &[
    row(
        "identity",
        libc::SYS_setgroups,
        &[],
        EPERM,
        &["groups", "CAP_SETGID"],
    ),
    row(
        "identity",
        libc::SYS_setresgid,
        &[],
        EPERM,
        &["gid", "CAP_SETGID"],
    ),
    row(
        "identity",
        libc::SYS_setresuid,
        &[],
        EPERM,
        &["uid", "CAP_SETUID"],
    ),
    row(
        "identity",
        libc::SYS_setresuid,
        &[],
        EINVAL,
        &["uid", "user namespace"],
    ),
    row(
        "capabilities",
        libc::SYS_prctl,
        &[Is(0, 24)],
        EPERM,
        &["bounding", "CAP_SETPCAP"],
    ),
    row(
        "capabilities",
        libc::SYS_prctl,
        &[Is(0, 47)],
        EPERM,
        &["ambient"],
    ),
    row(
        "capabilities",
        libc::SYS_prctl,
        &[Is(0, 28)],
        EPERM,
        &["securebits"],
    ),
    row("capabilities", libc::SYS_capset, &[], EPERM, &["capset"]),
    row(
        "no-new-privs",
        libc::SYS_prctl,
        &[Is(0, 38)],
        EINVAL,
        &["prctl", "--without"],
    ),
    row(
        "xen-requests",
        libc::SYS_seccomp,
        &[Has(1, LISTENER)],
        EINVAL,
        &["doctor"],
    ),
    row(
        "xen-requests",
        libc::SYS_seccomp,
        &[Has(1, LISTENER)],
        EBUSY,
        &["listener"],
    ),
    with(
        row(
            "xen-requests",
            libc::SYS_seccomp,
            &[Is(0, 1), Is(1, 0)],
            EINVAL,
            &["doctor"],
        ),
        &["--seal-after", "0", "--without", "seccomp"],
    ),
    // Of init, and of the program itself.
    row(
        "seccomp",
        libc::SYS_seccomp,
        &[Is(0, 1), Is(1, 0)],
        EINVAL,
        &["init", "doctor"],
    ),
    with(
        row(
            "seccomp",
            libc::SYS_seccomp,
            &[Is(0, 1), Is(1, 0)],
            EINVAL,
            &["doctor"],
        ),
        &["--without", "pid-ns", "--without", "xen-requests"],
    ),
    row(
        "mount-ns",
        libc::SYS_unshare,
        &[Is(0, 0x2_0000)],
        EPERM,
        NAMESPACE,
    ),
    row("mount-ns", libc::SYS_mount, &[], EPERM, &["private"]),
    row(
        "ipc-ns",
        libc::SYS_unshare,
        &[Is(0, 0x0800_0000)],
        EPERM,
        NAMESPACE,
    ),
    row(
        "ipc-ns",
        libc::SYS_unshare,
        &[Is(0, 0x0800_0000)],
        EINVAL,
        &["this kernel has no such", "--without ipc-ns"],
    ),
    row(
        "net-ns",
        libc::SYS_unshare,
        &[Is(0, 0x4000_0000)],
        ENOSPC,
        &["max_net_namespaces"],
    ),
    row(
        "pid-ns",
        libc::SYS_unshare,
        &[Is(0, 0x2000_0000)],
        EPERM,
        NAMESPACE,
    ),
    row("pid-ns", libc::SYS_prctl, &[Is(0, 4)], EINVAL, &["init"]),
    row(
        "uts-ns",
        libc::SYS_unshare,
        &[Is(0, 0x0400_0000)],
        EPERM,
        NAMESPACE,
    ),
    row(
        "cgroup-ns",
        libc::SYS_unshare,
        &[Is(0, 0x0200_0000)],
        EPERM,
        NAMESPACE,
    ),
    row(
        "root",
        libc::SYS_fsopen,
        &[],
        EPERM,
        &["tmpfs", "CAP_SYS_ADMIN"],
    ),
    row(
        "root",
        libc::SYS_fsopen,
        &[],
        ENOSYS,
        &["tmpfs", "Linux 5.2"],
    ),
    row("root", libc::SYS_fsconfig, &[], EINVAL, &["tmpfs"]),
    row("root", libc::SYS_fsmount, &[], EPERM, &["tmpfs"]),
    row("root", libc::SYS_open_tree, &[], EPERM, &["mount it"]),
    row("root", libc::SYS_move_mount, &[], EPERM, &["mount"]),
    row("root", libc::SYS_mount_setattr, &[], EPERM, &["mount it"]),
    row(
        "root",
        libc::SYS_pivot_root,
        &[],
        EPERM,
        &["pivot_root", "CAP_SYS_ADMIN"],
    ),
    row(
        "root",
        libc::SYS_pivot_root,
        &[],
        EINVAL,
        &["pivot_root", "initial ramfs"],
    ),
    row(
        "root",
        libc::SYS_umount2,
        &[],
        EPERM,
        &["detach the old root"],
    ),
    row(
        "root",
        libc::SYS_socket,
        &[Is(0, 1), Is(1, DATAGRAM)],
        EPERM,
        &["/notify"],
    ),
    with(
        row("root", libc::SYS_chroot, &[], EPERM, &["chroot"]),
        &["--profile", "libxl"],
    ),
    row(
        "landlock",
        libc::SYS_landlock_create_ruleset,
        &[Is(2, 0)],
        EPERM,
        &["ruleset"],
    ),
    row(
        "landlock",
        libc::SYS_landlock_add_rule,
        &[],
        EPERM,
        &["allow"],
    ),
    row(
        "landlock",
        libc::SYS_landlock_restrict_self,
        &[],
        EPERM,
        &["restrict"],
    ),
    row(
        "rlimits",
        libc::SYS_prlimit64,
        &[IsNot(2, 0)],
        EPERM,
        &["set as=", "hard limit"],
    ),
    #[cfg(target_arch = "x86_64")]
    row("fds", libc::SYS_dup2, &[], EPERM, &["place"]),
    row("fds", libc::SYS_close_range, &[], EPERM, &["close"]),
    row(
        "parent-death",
        libc::SYS_prctl,
        &[Is(0, 1)],
        EINVAL,
        &["prctl"],
    ),
    row(
        "keyring",
        libc::SYS_keyctl,
        &[],
        EDQUOT,
        &["/proc/key-users"],
    ),
    row(
        "keyring",
        libc::SYS_keyctl,
        &[],
        ENOSYS,
        &["CONFIG_KEYS", "--without keyring"],
    ),
    row(
        "session",
        libc::SYS_setsid,
        &[],
        EPERM,
        &["setsid", "--without session"],
    ),
];

/// A program that would show that it ran.
fn ran(launcher: Launcher) -> (Ended, bool) {
    let directory = launcher.writable_dir("written");
    let (program, file) = (launcher.path("program"), directory.join("ran"));
    static_program::write(&program);
    let launcher = launcher.option("--bind-rw").option(directory);
    let ended = launcher.run([program, file]);
    let ran = ended.path("written/ran").exists();
    (ended, ran)
}

/// Not by `--bind-linked`: it would run a loader.
fn launcher() -> Launcher {
    Launcher::bare().options(["--no-xen", "--user", "confined", "--without", "cgroup"])
}

#[test]
fn each_stops_the_start_by_name() {
    for Row {
        mechanism,
        deny,
        options,
        says,
    } in TABLE
    {
        let (ended, ran) = ran(launcher().options(*options).deny(&[*deny]));
        let context = format!("{mechanism} {deny:?}: {ended:?}");
        assert!(!ran, "{context}");
        assert_eq!((ended.code, ended.stdout.as_str()), (125, ""), "{context}");
        let message = ended.stderr.strip_prefix("dm-restrict: ").expect(&context);
        assert!(message.starts_with(&format!("{mechanism}: ")), "{context}");
        assert_eq!(message.lines().count(), 1, "{context}");
        assert!(says.iter().all(|word| message.contains(word)), "{context}");
        ended.nothing_left();
    }
}

#[test]
fn each_can_be_left_out_by_name() {
    for Row {
        mechanism,
        deny,
        options,
        ..
    } in TABLE
    {
        let others: &[&str] = match *mechanism {
            // Then it would be root.
            "identity" => continue,
            // It is looked at all the same whether any is left.
            "capabilities" if deny.when == [Is(0, 47)] => continue,
            // The named ones are placed always; init closes all others always.
            #[cfg(target_arch = "x86_64")]
            "fds" if deny.call == libc::SYS_dup2 => continue,
            "fds" => &["--without", "pid-ns"],
            "mount-ns" => &["--without", "root"],
            "no-new-privs" => &["--without", "landlock", "--without", "seccomp"],
            // With one filter only the other's is there to be loaded.
            "seccomp" => &["--without", "xen-requests"],
            _ => &[],
        };
        let launcher = launcher().options(*options).options(others).deny(&[*deny]);
        let (ended, ran) = ran(launcher.options(["--without", mechanism]));
        assert!(ran, "{mechanism} {deny:?}: {ended:?}");
        ended.with_code(static_program::CODE);
    }
}

#[test]
fn every_mechanism_that_can_fail_is_in_the_table() {
    // `cgroup` has tests of its own; a variable or a mask cannot fail.
    let elsewhere = ["cgroup", "env", "umask"];
    for mechanism in xen_restrict::confine::Mechanism::ALL {
        let name = mechanism.name();
        let here = TABLE.iter().any(|row| row.mechanism == name);
        assert!(here != elsewhere.contains(&name), "{name}");
    }
}

#[test]
fn a_supervisor_of_somebody_elses_is_named() {
    let asking = deny::asking();
    let (ended, ran) = ran(launcher().hook(move || deny::load_with_listener(&asking)));
    assert!(!ran, "{ended:?}");
    ended.refused(125, &["dm-restrict: xen-requests: ", "listener", "sandbox"]);
}

#[test]
fn what_the_machine_lacks_is_told_and_can_be_required() {
    for errno in [ENOSYS, libc::EOPNOTSUPP] {
        let deny = [Deny {
            call: libc::SYS_landlock_create_ruleset,
            when: &[],
            errno,
        }];
        let (ended, started) = ran(launcher().deny(&deny));
        assert!(started, "{ended:?}");
        let ended = ended.with_code(static_program::CODE);
        assert!(
            ended
                .stderr
                .starts_with("dm-restrict: warning: not applied: landlock: "),
            "{ended:?}"
        );

        let (ended, started) = ran(launcher().options(["--require", "landlock"]).deny(&deny));
        assert!(!started, "{ended:?}");
        ended.refused(125, &["dm-restrict: landlock: the kernel"]);
    }
}

#[test]
fn a_launcher_that_cannot_go_back_does_not_go_on() {
    let deny = Deny {
        call: libc::SYS_setns,
        when: &[],
        errno: EPERM,
    };
    let (ended, ran) = ran(launcher().deny(&[deny]));
    // It is in the wrong place to clean up: the next launch does that.
    assert!(
        !ran && ended.code == 125 && ended.stderr.contains("go back"),
        "{ended:?}"
    );
}

#[test]
fn a_launcher_that_lacks_processes_or_descriptors_says_so() {
    let nothing = |call, when, errno| Deny { call, when, errno };
    for (deny, says) in [
        (nothing(libc::SYS_clone, &[], libc::EAGAIN), "fork"),
        (nothing(libc::SYS_pipe2, &[], libc::EMFILE), "pipe"),
        (nothing(libc::SYS_socketpair, &[], libc::ENFILE), "socket"),
        (nothing(libc::SYS_signalfd4, &[], libc::EMFILE), "signals"),
    ] {
        let (ended, ran) = ran(launcher().deny(&[deny]));
        assert!(!ran, "{ended:?}");
        assert!(
            ended.code == 125 && ended.stderr.contains(says),
            "{deny:?}: {ended:?}"
        );
        ended.nothing_left();
    }
}

#[test]
fn a_start_that_fails_between_two_namespaces_still_reaps() {
    // After the pid namespace, in which a reaper would see nothing.
    let deny = Deny {
        call: libc::SYS_unshare,
        when: &[Is(0, 0x0400_0000)],
        errno: EPERM,
    };
    let (ended, ran) = ran(Launcher::for_domain().deny(&[deny]));
    assert!(!ran && ended.stderr.lines().count() == 1, "{ended:?}");
    ended.refused(125, &["dm-restrict: uts-ns: "]);
}
