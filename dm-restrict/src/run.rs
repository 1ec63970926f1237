// SPDX-License-Identifier: MIT OR Apache-2.0
//! `dm-restrict run`: this process becomes the supervisor.

use std::{
    ffi::{OsStr, OsString},
    io::{self, Write as _},
    os::unix::ffi::OsStrExt as _,
    process::ExitCode,
    time::Duration,
};

use xen_restrict::launch::{Event, Launch, Plan, Seal};

use crate::{cli::Run, say, with_causes};

/// Its own exit code is the program's, or a launcher's.
pub(crate) fn run(options: Run) -> ExitCode {
    let dry = options.dry_run;
    let outcome = Plan::new(launch(options)).and_then(|plan| {
        if dry {
            return Ok(show(&plan));
        }
        let ended = plan.supervise(&mut tell)?;
        if let Some(explanation) = ended.explanation() {
            say(explanation);
        }
        Ok(ended.exit_code())
    });
    ExitCode::from(outcome.unwrap_or_else(|error| {
        say(&with_causes(&error));
        error.exit_code()
    }))
}

fn show(plan: &Plan) -> u8 {
    match write!(io::stdout(), "{plan}") {
        Ok(()) => 0,
        Err(error) => {
            say(&format!("cannot print the plan: {error}"));
            125
        }
    }
}

fn tell(event: Event) {
    match event {
        Event::Warning(text) => say(&format!("warning: {text}")),
        Event::Denied(call) => say(&format!("denied: {call}")),
        Event::NotSealed(reason) => say(&format!("warning: not sealed: {reason}")),
        Event::GuestGone(guest) => say(&format!("{guest} is gone: its program ends")),
        _ => {}
    }
}

fn launch(options: Run) -> Launch {
    let mut launch = match options.domid {
        Some(guest) => Launch::new(guest),
        None => Launch::without_xen(),
    };
    launch = launch.devices(match options.no_xen {
        true => Vec::new(),
        false => options.xen,
    });
    launch = launch.profile(options.profile);
    let mut command = options.command.into_iter();
    launch = launch.program(command.next().unwrap_or_default(), command);
    for mechanism in options.without {
        launch = launch.without(mechanism);
    }
    for mechanism in options.require {
        launch = launch.require(mechanism);
    }
    for path in options.bind_ro {
        launch = launch.bind_read_only(path);
    }
    for path in options.bind_rw {
        launch = launch.bind_read_write(path);
    }
    for fd in options.fd {
        launch = launch.fd(fd);
    }
    for variable in &options.env {
        launch = match split(variable) {
            (name, Some(value)) => launch.env(name, value),
            (name, None) => launch.inherit_env(name),
        };
    }
    for limit in options.rlimit {
        launch = launch.limit(limit);
    }
    for limit in options.cgroup {
        launch = launch.cgroup_limit(limit);
    }
    if let Some(name) = options.instance {
        launch = launch.instance(name);
    }
    if let Some(name) = options.user {
        launch = launch.user(name);
    }
    if let Some(bytes) = options.tmp {
        launch = launch.tmp(bytes);
    }
    if options.bind_linked {
        launch = launch.bind_linked();
    }
    if options.dev {
        launch = launch.dev();
    }
    if options.proc {
        launch = launch.proc();
    }
    if options.log_denied {
        launch = launch.log_denied();
    }
    launch.seal(match options.seal_after {
        0 => Seal::Before,
        seconds => Seal::After(Duration::from_secs(seconds.into())),
    })
}

/// `NAME=VALUE` or `NAME`.
fn split(variable: &OsStr) -> (OsString, Option<OsString>) {
    let mut parts = variable.as_bytes().splitn(2, |byte| *byte == b'=');
    let mut next = || parts.next().map(|part| OsStr::from_bytes(part).to_owned());
    (next().unwrap_or_default(), next())
}
