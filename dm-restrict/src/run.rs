// SPDX-License-Identifier: MIT OR Apache-2.0
//! `dm-restrict run`: this process becomes the supervisor.

use std::{
    ffi::{OsStr, OsString},
    io::{self, Write as _},
    os::unix::ffi::OsStrExt as _,
    process::ExitCode,
    time::Duration,
};

use xen_restrict::launch::{
    Event, Launch, LaunchError, Overseer, Plan, Reporter, SealAt, variables_from,
};

use crate::{auditor::Auditor, cli::Run, let_go::let_go, messages::Messages, say, with_causes};

/// Its exit code is the program's, or says why there is none.
pub(crate) fn run(mut options: Run) -> ExitCode {
    let mut reporter = None;
    let outcome = supervise(&mut options, &mut reporter);
    ExitCode::from(outcome.unwrap_or_else(|error| {
        say(&with_causes(&error));
        if let Some(reporter) = reporter {
            reporter.failed(&error);
        }
        error.exit_code()
    }))
}

fn supervise(options: &mut Run, reporter: &mut Option<Reporter>) -> Result<u8, LaunchError> {
    *reporter = options.report.map(Reporter::take).transpose()?;
    if let Some(number) = options.env_fd {
        options.env.extend(variables_from(number)?);
    }
    let plan = Plan::new(launch(options))?;
    if options.dry_run {
        return Ok(show(&plan));
    }
    let mut auditor = options.audit.then(Auditor::default);
    let mut nobody = ();
    let overseer: &mut dyn Overseer = match &mut auditor {
        Some(auditor) => auditor,
        None => &mut nobody,
    };
    let mut messages = Messages::new();
    let ended = plan.supervise_with(overseer, &mut |event| match event {
        Event::Started { pid } => {
            let_go(&options.fd);
            if let Some(reporter) = reporter.take() {
                reporter.started(pid);
            }
        }
        other => tell(&mut messages, other),
    })?;
    if let Some(explanation) = ended.explanation() {
        messages.say(explanation);
    }
    drop(messages);
    let code = ended.exit_code();
    Ok(match auditor.is_none_or(Auditor::passed) {
        true => code,
        false => 125,
    })
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

fn tell(messages: &mut Messages, event: Event) {
    match event {
        Event::Warning(text) => messages.say(&format!("warning: {text}")),
        Event::Denied(call) => messages.denied(&call),
        Event::NotSealed(reason) => messages.say(&format!("warning: not sealed: {reason}")),
        Event::GuestGone(guest) => messages.say(&format!("{guest} is gone: its program ends")),
        _ => {}
    }
}

fn launch(options: &Run) -> Launch {
    let mut launch = match options.domid {
        Some(guest) => Launch::new(guest),
        None => Launch::without_xen(),
    };
    launch = launch.devices(match options.no_xen {
        true => Vec::new(),
        false => options.xen.clone(),
    });
    launch = launch.profile(options.profile).grants(options.grants);
    let mut command = options.command.iter().cloned();
    launch = launch.program(command.next().unwrap_or_default(), command);
    for mechanism in options.without.iter().cloned() {
        launch = launch.without(mechanism);
    }
    for mechanism in options.require.iter().cloned() {
        launch = launch.require(mechanism);
    }
    for path in options.bind_ro.iter().cloned() {
        launch = launch.bind_read_only(path);
    }
    for path in options.bind_rw.iter().cloned() {
        launch = launch.bind_read_write(path);
    }
    for fd in options.fd.iter().cloned() {
        launch = launch.fd(fd);
    }
    for variable in &options.env {
        launch = match split(variable) {
            (name, Some(value)) => launch.env(name, value),
            (name, None) => launch.inherit_env(name),
        };
    }
    for limit in options.rlimit.iter().cloned() {
        launch = launch.limit(limit);
    }
    for limit in options.cgroup.iter().cloned() {
        launch = launch.cgroup_limit(limit);
    }
    if let Some(name) = options.instance.clone() {
        launch = launch.instance(name);
    }
    if let Some(name) = options.user.clone() {
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
    if options.seal_mapping {
        launch = launch.seal_mapping();
    }
    launch.seal(match options.seal_after {
        0 => SealAt::Start,
        seconds => SealAt::After(Duration::from_secs(seconds.into())),
    })
}

/// `NAME=VALUE` or `NAME`.
fn split(variable: &OsStr) -> (OsString, Option<OsString>) {
    let mut parts = variable.as_bytes().splitn(2, |byte| *byte == b'=');
    let mut next = || parts.next().map(|part| OsStr::from_bytes(part).to_owned());
    (next().unwrap_or_default(), next())
}

#[cfg(test)]
mod round_trip;

#[cfg(test)]
mod tests {
    use clap::Parser as _;
    use xen_restrict::confine::{Mechanism, Profile};

    use super::*;
    use crate::cli::{Cli, Command};

    /// What `Launch::spawn` hands to this command.
    #[test]
    fn options_of_a_launch_lead_back_to_it() {
        let none: [&str; 0] = [];
        let guest = "7".parse().unwrap();
        for launch in [
            Launch::new(guest).program("qemu", none),
            Launch::without_xen()
                .user("games")
                .program("/bin/true", ["--domid", "-x", "--"]),
            Launch::new(guest)
                .instance("tpm")
                .profile(Profile::Libxl)
                .without(Mechanism::Root)
                .require(Mechanism::Identity)
                .user("games")
                .devices(["evtchn".parse().unwrap(), "privcmd".parse().unwrap()])
                .bind_read_only("/a b\nc")
                .bind_read_only("-odd")
                .bind_read_write(OsStr::from_bytes(b"/\xff"))
                .bind_linked()
                .dev()
                .proc()
                .tmp(1 << 20)
                .fd("log=5".parse().unwrap())
                .limit("nofile=unlimited".parse().unwrap())
                .cgroup_limit("memory.max=1G".parse().unwrap())
                .log_denied()
                .seal(SealAt::Start)
                .program("program", [OsStr::from_bytes(b"\xfe")]),
        ] {
            let arguments = launch.options();
            let line = ["dm-restrict".into(), "run".into()]
                .into_iter()
                .chain(arguments);
            let Command::Run(options) = Cli::try_parse_from(line).unwrap().command else {
                panic!("not `run`");
            };
            assert_eq!(super::launch(&options), launch);
        }
    }
}
