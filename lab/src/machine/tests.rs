// SPDX-License-Identifier: MIT OR Apache-2.0
//! Machines that are shell scripts.

use super::*;
use crate::contents::TOOLSTACK;
use crate::dom0::PV;
use crate::job::{Job, Work};
use crate::suite::SUITES;
use std::path::PathBuf;
use std::process::Command;

/// Plays a machine with two jobs: `script` writes to $1, the console, and $2, the port.
fn play(script: &str, limits: Limits) -> Result<Outcome, String> {
    play_to(End::Well, script, limits)
}

fn play_to(end: End, script: &str, limits: Limits) -> Result<Outcome, String> {
    let folder = tempfile::tempdir().unwrap();
    let job = || Job {
        name: "job".to_owned(),
        line: String::new(),
    };
    let work = Work {
        jobs: vec![job(), job()],
        ..Work::new(&TOOLSTACK, Vec::new())
    };
    let plan = Plan {
        suite: &SUITES[1],
        dom0: &PV,
        processors: qemu::Processors {
            count: 1,
            icount: false,
        },
        fixed_addresses: false,
        nonce: "n",
        guest: PathBuf::new(),
        work: &work,
        shell: None,
    };
    let mut console = Console::create(folder.path().join("console.log")).unwrap();
    let mut machine = qemu::start(|console, port| {
        let mut command = Command::new("bash");
        command.args(["-c", script, "bash"]);
        command.args([console.to_string(), port.to_string()]);
        Ok(command)
    })
    .unwrap();
    follow(&mut machine, &mut console, &plan, limits, end)
        .unwrap()
        .map_err(|stop| report(&stop, &console, folder.path()).to_string())
}

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn statuses_come_back_in_order() {
    let script =
        "echo 'lab: end' >&$1; printf '#lab:n:begin 0\\n#lab:n:end 0 0\\n#lab:n:end 1 101\\n#lab:n:done\\n' >&$2
                  exec sleep 60";
    let outcome = play(script, Limits::DEFAULT).unwrap();
    assert_eq!(outcome.statuses, [0, 101]);
}

#[test]
fn a_dead_xen_is_not_waited_for() {
    let script = "echo '(XEN) Panic on CPU 0:' >&$1; echo 'last words' >&$1; exec sleep 60";
    let error = play(script, Limits::DEFAULT).unwrap_err();
    assert!(error.contains("Xen died: (XEN) Panic on CPU 0:"), "{error}");
    assert!(error.contains("  | last words"), "{error}");
}

#[test]
fn damage_in_dom0_spoils_a_success() {
    let script = "printf '#lab:n:end 0 0\\n#lab:n:end 1 0\\n' >&$2
                  echo 'BUG: unable to handle page fault' >&$1
                  echo '#lab:n:done' >&$2; exec sleep 60";
    let error = play(script, Limits::DEFAULT).unwrap_err();
    assert!(error.contains("reported damage: BUG: unable"), "{error}");
}

#[test]
fn an_expected_end_is_a_success_and_another_is_none() {
    const BUG: End = End::Console("kernel BUG at drivers");
    let bug = "echo '#lab:n:begin 0' >&$2; sleep 0.2; echo 'kernel BUG at drivers/x.c' >&$1
               exec sleep 60";
    let outcome = play_to(BUG, bug, Limits::DEFAULT).unwrap();
    assert!(outcome.statuses.is_empty());
    let before_any_job = "echo 'kernel BUG at drivers/x.c' >&$1; echo '#lab:n:failed x' >&$2
                          exec sleep 60";
    play_to(BUG, before_any_job, Limits::DEFAULT).unwrap_err();
    let another = "echo '#lab:n:begin 0' >&$2; sleep 0.2; echo '(XEN) Panic on CPU 0' >&$1
                   exec sleep 60";
    let error = play_to(BUG, another, Limits::DEFAULT).unwrap_err();
    assert!(error.contains("Xen died"), "{error}");
    let nothing = "printf '#lab:n:begin 0\\n#lab:n:end 0 0\\n#lab:n:end 1 0\\n#lab:n:done\\n' >&$2
                   echo 'lab: end' >&$1; exec sleep 60";
    for end in [BUG, End::Hang] {
        let error = play_to(end, nothing, Limits::DEFAULT).unwrap_err();
        assert!(error.contains("not as expected"), "{error}");
    }
}

#[test]
fn what_a_job_says_can_be_the_end() {
    let script = "printf '#lab:n:begin 0\\nit is op' >&$2; sleep 0.2; echo 'en' >&$2
                  exec sleep 60";
    play_to(End::Said("is open"), script, Limits::DEFAULT).unwrap();
}

#[test]
fn a_hang_is_an_end_once_a_job_runs() {
    let silence = Limits {
        silence: SECOND,
        ..Limits::DEFAULT
    };
    let hang = "echo '#lab:n:begin 0' >&$2; exec sleep 60";
    play_to(End::Hang, hang, silence).unwrap();
    let error = play_to(End::Hang, "echo hello >&$1; exec sleep 60", silence).unwrap_err();
    assert!(error.contains("hangs"), "{error}");
}

#[test]
fn silence_and_endless_talk_are_ended() {
    let silence = Limits {
        silence: SECOND,
        ..Limits::DEFAULT
    };
    let error = play("echo hello >&$1; exec sleep 60", silence).unwrap_err();
    assert!(error.contains("hangs"), "{error}");
    assert!(error.contains("  | hello"), "{error}");

    let total = Limits {
        total: SECOND,
        ..Limits::DEFAULT
    };
    let error = play("while sleep 0.1; do echo hello >&$1; done", total).unwrap_err();
    assert!(error.contains("not over after 1 seconds"), "{error}");
}

#[test]
fn a_machine_that_is_silent_gets_an_interrupt() {
    let folder = tempfile::tempdir().unwrap();
    let heard = folder.path().join("heard");
    let script = format!(
        "echo '#lab:n:begin 0' >&$2; head -c 1 <&$2 >{}; echo 'lab: end' >&$1
         printf '#lab:n:end 0 0\\n#lab:n:end 1 0\\n#lab:n:done\\n' >&$2; exec sleep 60",
        heard.display()
    );
    let silence = Limits {
        silence: 4 * SECOND,
        ..Limits::DEFAULT
    };
    play(&script, silence).unwrap();
    assert_eq!(fs::read(heard).unwrap(), [0]);
}

#[test]
fn a_machine_that_hangs_is_asked_why() {
    let folder = tempfile::tempdir().unwrap();
    let heard = folder.path().join("heard");
    let script = format!(
        "echo hello >&$1; head -c 2 <&$1 >{}; echo asked >&$1; exec sleep 60",
        heard.display()
    );
    let silence = Limits {
        silence: SECOND,
        ..Limits::DEFAULT
    };
    let error = play(&script, silence).unwrap_err();
    // The answer is for the log.
    assert!(
        error.contains("  | hello") && !error.contains("asked"),
        "{error}"
    );
    assert_eq!(fs::read(heard).unwrap(), QUESTIONS[0].as_bytes()[..2]);
}

#[test]
fn an_early_end_is_an_error() {
    let error = play("exit 3", Limits::DEFAULT).unwrap_err();
    assert!(
        error.contains("QEMU did not start (exit status: 3)"),
        "{error}"
    );
    let error = play("echo hello >&$1", Limits::DEFAULT).unwrap_err();
    assert!(
        error.contains("before dom0 said that it was done"),
        "{error}"
    );
    let error = play(
        "echo '#lab:n:failed no xl' >&$2; exec sleep 60",
        Limits::DEFAULT,
    )
    .unwrap_err();
    assert!(error.contains("init gave up: no xl"), "{error}");
    let script = "printf '#lab:n:end 0 0\\n#lab:n:done\\n' >&$2; exec sleep 60";
    let error = play(script, Limits::DEFAULT).unwrap_err();
    assert!(error.contains("1 of 2 jobs ran"), "{error}");
}
