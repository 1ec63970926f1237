// SPDX-License-Identifier: MIT OR Apache-2.0
//! A disk of dom0's that is a block device.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use crate::support::scratch;

/// One whose content is in a file.
pub(crate) struct Loop {
    pub(crate) device: PathBuf,
    file: PathBuf,
}

impl Loop {
    pub(crate) fn new() -> Self {
        let file = scratch("of-dom0");
        fs::write(&file, vec![0; 2 << 20]).unwrap();
        let free = Command::new("losetup").arg("-f").output().unwrap();
        let device = PathBuf::from(String::from_utf8(free.stdout).unwrap().trim());
        losetup(&[&device, &file]);
        Self { device, file }
    }
}

impl Drop for Loop {
    fn drop(&mut self) {
        losetup(&[Path::new("-d"), &self.device]);
        let _ = fs::remove_file(&self.file);
    }
}

fn losetup(arguments: &[&Path]) {
    let done = Command::new("losetup").args(arguments).status();
    assert!(done.unwrap().success(), "{arguments:?}");
}
