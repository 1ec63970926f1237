// SPDX-License-Identifier: MIT OR Apache-2.0
//! A launch, as the command line that `Launch::spawn` makes of it, as a launch.

use std::{fmt::Debug, os::unix::ffi::OsStringExt as _, str::FromStr};

use clap::Parser as _;
use proptest::{collection::vec, prelude::*, sample::subsequence};
use xen_restrict::{
    GuestId,
    confine::{Mechanism, Profile},
    launch::{Grants, XenDevice},
};

use super::*;
use crate::cli::{Cli, Command};

/// Whatever an argument can hold; often what looks like an option.
fn text() -> impl Strategy<Value = OsString> {
    const ODD: &[&str] = &[
        "-",
        "--",
        "--domid",
        "--domid=7",
        "-x",
        "=",
        "a=b",
        ",",
        " ",
        "\n",
        "\u{202e}",
    ];
    let bytes = vec(1_u8.., 1..9).prop_map(OsString::from_vec);
    prop_oneof![prop::sample::select(ODD).prop_map(OsString::from), bytes]
}

fn name() -> impl Strategy<Value = String> {
    text().prop_map(|text| text.to_string_lossy().into_owned())
}

fn values<T: FromStr<Err: Debug> + Debug>(
    names: &'static [&'static str],
    values: &'static [&'static str],
) -> impl Strategy<Value = Vec<T>> {
    let one = (prop::sample::select(names), prop::sample::select(values));
    let one = one.prop_map(|(name, value)| format!("{name}={value}").parse().unwrap());
    vec(one, 0..3)
}

fn handles() -> impl Strategy<Value = Launch> {
    let grants = prop_oneof![
        Just(Grants::Revoked),
        (1..=65_536_u32).prop_map(|quota| Grants::Brokered { quota }),
    ];
    let guest = prop::option::of((1..=32_751_u16).prop_map(|id| GuestId::new(id).unwrap()));
    let devices = subsequence(XenDevice::ALL.to_vec(), 0..=3);
    (guest, devices, grants).prop_map(|(guest, devices, grants)| {
        let launch = guest.map_or_else(Launch::without_xen, Launch::new);
        launch.devices(devices).grants(grants)
    })
}

fn mechanisms() -> impl Strategy<Value = (Profile, Vec<Mechanism>, Vec<Mechanism>)> {
    let some = || subsequence(Mechanism::ALL.to_vec(), 0..4);
    (prop::sample::select(&Profile::ALL[..]), some(), some())
}

fn named() -> impl Strategy<Value = [Option<String>; 2]> {
    prop::array::uniform2(prop::option::of(name()))
}

fn any_launch() -> impl Strategy<Value = Launch> {
    let limits = values(&["nofile", "as", "core"], &["0", "7", "unlimited"]);
    let groups = values(
        &["pids.max", "memory.max", "memory.swap.max", "cpu.max"],
        &["1000", "7G", "1G", "max"],
    );
    let fds = values(&["log", "stdin", "a-b", "\"x\""], &["0", "5", "2147483647"]);
    let seal = prop_oneof![
        Just(SealAt::Start),
        (1..=u32::MAX).prop_map(|seconds| SealAt::After(Duration::from_secs(seconds.into()))),
    ];
    let tmp = prop::option::of(1_u64..);
    let paths = || vec(text(), 0..3);
    let start = (handles(), mechanisms(), named(), paths(), paths());
    let bounds = (limits, groups, fds, seal, tmp);
    let rest = (
        any::<[bool; 5]>(),
        text(),
        vec(prop_oneof![Just(OsString::new()), text()], 0..4),
    );
    (start, bounds, rest).prop_map(|(start, bounds, rest)| {
        let (mut launch, (profile, without, require), [instance, user], read, write) = start;
        let (limits, groups, fds, seal, tmp) = bounds;
        let ([linked, dev, proc, log, mapping], program, arguments) = rest;
        launch = launch
            .profile(profile)
            .seal(seal)
            .program(program, arguments);
        launch = without.into_iter().fold(launch, Launch::without);
        launch = require.into_iter().fold(launch, Launch::require);
        launch = read.into_iter().fold(launch, Launch::bind_read_only);
        launch = write.into_iter().fold(launch, Launch::bind_read_write);
        launch = limits.into_iter().fold(launch, Launch::limit);
        launch = groups.into_iter().fold(launch, Launch::cgroup_limit);
        launch = fds.into_iter().fold(launch, Launch::fd);
        launch = instance.into_iter().fold(launch, Launch::instance);
        launch = user.into_iter().fold(launch, Launch::user);
        launch = tmp.into_iter().fold(launch, Launch::tmp);
        type Flag = (bool, fn(Launch) -> Launch);
        let flags: [Flag; 5] = [
            (linked, Launch::bind_linked),
            (dev, Launch::dev),
            (proc, Launch::proc),
            (log, Launch::log_denied),
            (mapping, Launch::seal_mapping),
        ];
        let wanted = flags.into_iter().filter(|(wanted, _)| *wanted);
        wanted.fold(launch, |launch, (_, with)| with(launch))
    })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// Every launch that can be said, with options that make no sense together as well.
    #[test]
    fn a_launch_is_the_same_through_a_command_line(launch in any_launch()) {
        let options = launch.options();
        let line = ["dm-restrict".into(), "run".into()].into_iter().chain(options.iter().cloned());
        let read = Cli::try_parse_from(line).map_err(|error| {
            TestCaseError::fail(format!("{options:?}: {error}"))
        })?;
        let Command::Run(run) = read.command else {
            panic!("not `run`");
        };
        prop_assert_eq!(&super::launch(&run), &launch, "{:?}", options);
        prop_assert_eq!(super::launch(&run).options(), options);
    }
}
