// SPDX-License-Identifier: MIT OR Apache-2.0
//! Programs of this machine that know nothing of the filter.

use std::{
    fs,
    io::Write,
    path::Path,
    process::{Command, Stdio},
};

use xen_restrict::confine::seccomp;

use crate::alone::alone;

/// What a program says that must succeed.
fn said(program: impl AsRef<Path>, arguments: &[&str]) -> String {
    let program = program.as_ref();
    let output = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .unwrap_or_else(|error| panic!("{}: {error}", program.display()));
    let errors = String::from_utf8(output.stderr).unwrap();
    assert!(
        output.status.success(),
        "{arguments:?}: {:?} {errors}",
        output.status
    );
    assert_eq!(errors, "", "{arguments:?}");
    String::from_utf8(output.stdout).unwrap()
}

fn sh(script: &str) -> String {
    said("/bin/sh", &["-c", script])
}

#[test]
fn shells_and_what_they_start() {
    alone(|| {
        seccomp::enforce().unwrap();
        said("/bin/true", &[]);
        assert_eq!(sh("echo hi"), "hi\n");
        assert_eq!(sh("a=$(echo b | tr b c); (echo $a) | cat"), "c\n");
        assert_eq!(
            sh("sleep 9 & kill $!; wait $! 2>/dev/null; echo $?"),
            "143\n"
        );
        let bash = "shopt -s lastpipe; printf '%s\\n' b a | sort | read x; echo $x; \
                    cat < <(echo c); trap 'echo d' USR1; kill -USR1 $$; [[ e =~ e ]] && echo e";
        assert_eq!(said("/bin/bash", &["-c", bash]), "a\nc\nd\ne\n");
    });
}

#[test]
fn files() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("b"), "text\n").unwrap();
    let dir = dir.path().to_str().unwrap().to_owned();
    // The process below has a directory of its own, and this one outlives it.
    alone(move || {
        std::env::set_current_dir(&dir).unwrap();
        seccomp::enforce().unwrap();
        assert_eq!(sh("cp b a; mv a c; ln -s c d; ls; rm c d"), "b\nc\nd\n");
        assert_eq!(
            sh("mkdir -p x/y; touch x/y/z; find x -type f; rm -r x"),
            "x/y/z\n"
        );
        assert_eq!(
            sh("cat b b | wc -l; grep -c text b; head -c2 b"),
            "2\n1\nte"
        );
        assert_eq!(
            sh("dd if=/dev/zero of=e bs=1k count=3 conv=fsync 2>/dev/null; stat -c %s e"),
            "3072\n"
        );
        let tail = "truncate -s 10 e; chmod 600 e; tail -f e > f & \
                    until [ -s f ]; do sleep 0.1; done; kill $!; wc -c < f";
        assert_eq!(sh(tail), "10\n");
        assert!(sh("ls -l /; df / ; id; date; nproc; env; uname -a; ps").contains("root"));
    });
}

#[test]
fn a_second_exec_is_under_the_same_filter() {
    alone(|| {
        seccomp::enforce().unwrap();
        let text = sh("exec sh -c 'exec grep Seccomp: /proc/self/status'");
        assert_eq!(text, "Seccomp:\t2\n");
        let denied = Command::new("unshare")
            .args(["--user", "true"])
            .output()
            .unwrap();
        let text = String::from_utf8(denied.stderr).unwrap();
        assert!(text.contains("Operation not permitted"), "{text}");
        // What the module says of memory files.
        let file = nix::sys::memfd::memfd_create(c"program", nix::sys::memfd::MFdFlags::empty());
        let mut file = fs::File::from(file.unwrap());
        file.write_all(&fs::read("/bin/echo").unwrap()).unwrap();
        let path = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&file));
        assert_eq!(said(path, &["still"]), "still\n");
    });
}

/// A program that carries its C library, with threads.
#[test]
fn a_static_program() {
    let dir = tempfile::tempdir().unwrap();
    let program = dir.path().join("program");
    let mut cc = Command::new("cc")
        .args(["-static", "-pthread", "-x", "c", "-o"])
        .arg(&program)
        .arg("-")
        .stdin(Stdio::piped())
        .spawn()
        .expect("apt-get install gcc libc6-dev");
    cc.stdin
        .take()
        .unwrap()
        .write_all(PROGRAM.as_bytes())
        .unwrap();
    assert!(cc.wait().unwrap().success());
    alone(move || {
        seccomp::enforce().unwrap();
        assert_eq!(said(&program, &[]), "42\n");
    });
}

const PROGRAM: &str = "
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
static void *work(void *number) {
    struct timespec moment = {0, 1000000};
    nanosleep(&moment, 0);
    *(int *)number = 42;
    return malloc(1 << 22);
}
int main(void) {
    pthread_t thread;
    int number = 0;
    if (pthread_create(&thread, 0, work, &number) || pthread_join(thread, 0))
        return 1;
    return printf(\"%d\\n\", number) != 3;
}
";
