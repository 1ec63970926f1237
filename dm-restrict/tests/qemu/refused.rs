// SPDX-License-Identifier: MIT OR Apache-2.0
//! What is not started, or not left to run.

use std::{env, fs, os::unix::fs::PermissionsExt as _, path::Path};

use crate::{
    stock::{StockGuest, wrapper},
    support::{Guest, Wanted, alone, in_place_of_qemu, monitoring, scratch},
};

/// Settings for what is started while it lives.
pub(crate) struct Settings(std::path::PathBuf);

impl Settings {
    pub(crate) fn new(text: &str) -> Self {
        let path = scratch("settings");
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        // SAFETY: no other thread reads the environment: tests that start guests take turns.
        unsafe { env::set_var("DM_RESTRICT_QEMU_CONF", &path) };
        Self(path)
    }
}

impl Drop for Settings {
    fn drop(&mut self) {
        // SAFETY: as above.
        unsafe { env::remove_var("DM_RESTRICT_QEMU_CONF") };
        let _ = fs::remove_file(&self.0);
    }
}

fn uid_of(pid: i32) -> String {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status
        .lines()
        .find(|line| line.starts_with("Uid:"))
        .unwrap();
    line.split_whitespace().nth(1).unwrap().to_owned()
}

#[test]
fn a_guest_without_dm_restrict_is_refused_unless_the_settings_say_so() {
    let _alone = alone();
    let no = StockGuest::create(false, Some(&in_place_of_qemu()), &[]).unwrap_err();
    assert!(
        no.qemu.contains("write dm_restrict=1 into its config"),
        "{no:?}"
    );

    let _settings = Settings::new("unrestricted = run\n");
    let guest = StockGuest::create(false, Some(&in_place_of_qemu()), &[]).unwrap();
    assert_eq!(uid_of(guest.pid), "0");
    let exe = fs::read_link(format!("/proc/{}/exe", guest.pid)).unwrap();
    assert!(exe.to_string_lossy().contains("qemu-system"), "{exe:?}");
    assert!(monitoring().starts_with("CRITICAL: not confined"));
}

#[test]
fn a_program_that_keeps_root_is_ended() {
    let _alone = alone();
    // The call that asks what it can do is answered; the one for a guest is not.
    let stays = wrapper("exec sleep 1000");
    let _settings = Settings::new(&format!(
        "program = {}\ngive-up-within = 2\n",
        stays.display()
    ));
    let no = StockGuest::create(true, Some(&in_place_of_qemu()), &[]).unwrap_err();
    assert!(no.qemu.contains("QEMU has not given up root"), "{no:?}");
    assert!(no.qemu.contains("the program is ended"), "{no:?}");
}

#[test]
fn a_mechanism_is_left_out_by_name_and_a_wrong_setting_stops_it() {
    let _alone = alone();
    {
        let _settings = Settings::new("without = net-ns\n");
        let guest = Guest::start();
        guest.has_done_its_work();
        let without = &guest.record["without"];
        assert_eq!(*without, serde_json::json!(["net-ns"]));
    }
    for (text, says) in [
        (
            "without = xen-requests\n",
            "cannot be left out of profile qemu",
        ),
        ("nothing = 1\n", "there is no setting"),
    ] {
        let _settings = Settings::new(text);
        let no = Guest::try_start(&Wanted::default()).err().unwrap();
        assert!(no.qemu.contains(says), "{no:?}");
    }
    let settings = Settings::new("");
    fs::set_permissions(Path::new(&settings.0), fs::Permissions::from_mode(0o666)).unwrap();
    let no = Guest::try_start(&Wanted::default()).err().unwrap();
    assert!(no.qemu.contains("others than root can change it"), "{no:?}");
}
