// SPDX-License-Identifier: MIT OR Apache-2.0
//! `dm-restrict qemu`: what libxl starts in the place of QEMU (`device_model_override`).
//! This process becomes QEMU's supervisor.

mod call;
mod disks;
mod handed_over;
mod read_only;
mod settings;
mod sockets;
mod tap;

use std::{
    error::Error,
    ffi::{OsStr, OsString},
    fs,
    os::unix::process::CommandExt as _,
    path::{Path, PathBuf},
    process::{Command, ExitCode},
};

use nix::unistd::{Uid, User};
use xen_restrict::{
    confine::{Identity, Mechanism, UserDb},
    launch::{Event, Launch, LaunchError, NamedFd, Plan, QemuStart, SealAt},
};

use crate::{let_go::let_go, messages::Messages, say, with_causes};
use call::{Call, DeviceModel, Disk, Restricted};
use handed_over::HandedOver;
use settings::Settings;

/// By what name this command is this one, with QEMU's arguments and no others.
const NAME: &str = "qemu";
/// What libxl tells QEMU by its environment.
const VARIABLES: [&str; 2] = ["XEN_DOMAIN_ID", "XEN_QEMU_CONSOLE_LIMIT"];

/// QEMU's arguments, if this command was started by that name.
pub(crate) fn by_name() -> Option<Vec<OsString>> {
    let mut arguments = std::env::args_os();
    let name = arguments.next()?;
    let is_qemu = Path::new(&name).file_name() == Some(OsStr::new(NAME));
    is_qemu.then(|| arguments.collect())
}

/// The exit code is QEMU's, or says why there is none.
pub(crate) fn qemu(arguments: Vec<OsString>) -> ExitCode {
    match start(arguments) {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            say(&with_causes(&*error));
            let code = error.downcast_ref::<LaunchError>();
            ExitCode::from(code.map_or(125, LaunchError::exit_code))
        }
    }
}

fn start(arguments: Vec<OsString>) -> Result<u8, Box<dyn Error>> {
    let settings = Settings::read()?;
    let program = settings.program()?;
    let call = Call::of(&arguments)?;
    let model = match &call {
        Call::DeviceModel(model) => Some(model),
        Call::Probe => None,
    };
    if let Some(DeviceModel {
        guest,
        restricted: None,
        ..
    }) = model
    {
        if !settings.unrestricted {
            return Err(format!(
                "{guest} is not restricted: write dm_restrict=1 into its config, or, if QEMU is to \
                 run as root, unconfined, `unrestricted = run` into /etc/dm-restrict/qemu.conf"
            )
            .into());
        }
        say(&format!(
            "{guest} runs unrestricted and unconfined, as the settings say"
        ));
        return Err(Command::new(program).args(arguments).exec().into());
    }

    let HandedOver {
        arguments,
        fds,
        sockets,
        outputs,
        disks: handed_over,
        listeners,
    } = HandedOver::of(arguments)?;
    let mut launch = match model {
        Some(DeviceModel {
            restricted: Some(restricted),
            ..
        }) => {
            let files = Files {
                outputs,
                handed_over,
                listeners,
            };
            device_model(model.ok_or("no model")?, restricted, files, &settings)?
        }
        _ => Launch::without_xen().qemu(QemuStart::Probe),
    };
    launch = launch.program(program, arguments);
    for fd in fds.iter().cloned() {
        launch = launch.fd(fd);
    }
    for name in VARIABLES
        .iter()
        .filter(|name| std::env::var_os(name).is_some())
    {
        launch = launch.inherit_env(name);
    }
    // At its end one that is only asked would remove the socket of the other, if it saw that.
    let kept = |mechanism: &Mechanism| model.is_none() && *mechanism == Mechanism::Root;
    for mechanism in settings.without.iter().copied().filter(|m| !kept(m)) {
        launch = launch.without(mechanism);
    }
    for limit in settings.limits.iter().copied() {
        launch = launch.limit(limit);
    }
    if model.is_some() {
        for limit in settings.cgroup.iter().copied() {
            launch = launch.cgroup_limit(limit);
        }
        for mechanism in settings.require.iter().copied() {
            launch = launch.require(mechanism);
        }
        if settings.log_denied {
            launch = launch.log_denied();
        }
    }
    let code = supervise(launch, &fds);
    drop(sockets);
    Ok(code?)
}

/// What was opened for QEMU, so that it need not.
struct Files {
    outputs: Vec<PathBuf>,
    handed_over: Vec<Disk>,
    listeners: Vec<(PathBuf, String)>,
}

fn device_model(
    model: &DeviceModel,
    restricted: &Restricted,
    files: Files,
    settings: &Settings,
) -> Result<Launch, Box<dyn Error>> {
    let chroot = fs::canonicalize(&restricted.chroot)
        .map_err(|error| format!("{}: {error}", restricted.chroot.display()))?;
    let others = model
        .disks
        .iter()
        .filter(|disk| !files.handed_over.contains(disk));
    let by_path: Vec<_> = others.cloned().collect();
    let (read_only, writable): (Vec<_>, Vec<_>) =
        model.disks.iter().partition(|disk| disk.read_only);
    let path = |disk: &Disk| disk.path.clone();
    let reads = [model.reads.as_slice(), &settings.reads].concat();
    // What a disk is based on stays open, and an initrd mapped.
    let kept: Vec<_> = reads
        .iter()
        .filter(|path| path.is_file())
        .cloned()
        .collect();
    // The directory that it enters is its user's, and closed to others.
    let enters_others = settings.without.contains(&Mechanism::Root);
    let mut launch = Launch::new(model.guest)
        .seal(SealAt::After(settings.give_up_within))
        .qemu(QemuStart::DeviceModel {
            chroot,
            files: writable
                .into_iter()
                .map(path)
                .chain(files.outputs)
                .collect(),
            read_only: read_only.into_iter().map(path).chain(kept).collect(),
            reads,
            listeners: files.listeners,
            opens_others: disks::are_others(&by_path) || enters_others,
        });
    if let Some(user) = other_user(model, restricted)? {
        launch = launch.user(user);
    }
    // A guest writes to all of its disk, and only the control group bounds what is in memory.
    let fsize = if disks::writable_files(&model.disks).is_empty() {
        "fsize=1073741824"
    } else {
        "fsize=unlimited"
    };
    if !settings.without.contains(&Mechanism::Rlimits) {
        launch = launch.limit(fsize.parse()?).limit(MEMLOCK.parse()?);
    }
    for file in disks::writable_files(&by_path) {
        launch = launch.bind_read_write(file);
    }
    for option in &model.network {
        say(&format!(
            "{} is left out: dom0's network is needed by {option}",
            Mechanism::NetNs
        ));
    }
    if !model.network.is_empty() && !settings.without.contains(&Mechanism::NetNs) {
        launch = launch.without(Mechanism::NetNs);
    }
    Ok(launch)
}

/// Numbers of frames for a graphics card of 256 MiB, which Xen's library has locked, and some.
const MEMLOCK: &str = "memlock=1048576";

/// The user's name, where libxl has not taken the one that the rule gives.
fn other_user(
    model: &DeviceModel,
    restricted: &Restricted,
) -> Result<Option<String>, Box<dyn Error>> {
    let db = UserDb::from_system()?;
    let ids = |identity: &Identity| (identity.uid(), identity.gid());
    let given = (restricted.uid, restricted.gid);
    if Identity::choose(model.guest, None, &db).is_ok_and(|rule| ids(&rule) == given) {
        return Ok(None);
    }
    let user = User::from_uid(Uid::from_raw(restricted.uid))?
        .ok_or_else(|| format!("uid {} of -runas is no user's", restricted.uid))?;
    let identity = Identity::of_user(&user.name, &db)?;
    match ids(&identity) == given {
        true => Ok(Some(user.name)),
        false => Err(format!("{identity}, and -runas is {}:{}", given.0, given.1).into()),
    }
}

fn supervise(launch: Launch, fds: &[NamedFd]) -> Result<u8, LaunchError> {
    let mut messages = Messages::new();
    let ended = Plan::new(launch)?.supervise(&mut |event| match event {
        Event::Started { .. } => let_go(fds),
        Event::Warning(text) => messages.say(&format!("warning: {text}")),
        Event::Denied(call) => messages.denied(&call),
        Event::NotSealed(reason) => messages.say(&format!("warning: not sealed: {reason}")),
        Event::GuestGone(guest) => messages.say(&format!("{guest} is gone: its program ends")),
        _ => {}
    })?;
    if let Some(explanation) = ended.explanation() {
        messages.say(explanation);
    }
    Ok(ended.exit_code())
}
