// SPDX-License-Identifier: MIT OR Apache-2.0
//! The parts that are the same in each run: hypervisor, kernel and dom0's root, made from
//! a suite's packages and kept in the cache under a hash of all that went in.

use std::fs::{self, File};
use std::io::{self, BufWriter, Read, Write};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::SystemTime;

use anyhow::{Context, Result};
use flate2::read::GzDecoder;
use sha2::{Digest, Sha256};

use crate::contents::{Contents, LOADED_LATER, MODULES};
use crate::cpio::Archive;
use crate::elf;
use crate::packages::{Apt, Closure};
use crate::paths;
use crate::process;
use crate::progress::say;
use crate::root::Root;
use crate::suite::Suite;

/// Raised when this file starts to build something else from the same inputs.
const RECIPE: u32 = 3;

/// How many images of a suite stay in the cache.
const IMAGES_KEPT: usize = 4;

const EMPTY_FOLDERS: &[&str] = &[
    "dev", "etc/xen", "proc", "root", "run", "sys", "tmp", "usr/sbin", "var/lib", "var/log", "x",
];

/// The users are those that Xen's documentation has an administrator add, with the numbers
/// that Debian's adduser gives.
const FILES: &[(&str, &str)] = &[
    (
        "etc/passwd",
        "root:x:0:0:root:/root:/bin/sh\n\
         xen-qemuuser-reaper:x:101:65534::/nonexistent:/usr/sbin/nologin\n\
         nobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n\
         xen-qemuuser-range-base:x:65536:65534::/nonexistent:/usr/sbin/nologin\n",
    ),
    ("etc/group", "root:x:0:\nnogroup:x:65534:\n"),
    ("etc/subuid", ""),
    ("etc/nsswitch.conf", "passwd: files\ngroup: files\n"),
    ("etc/hostname", "dom0\n"),
    ("etc/xen/xl.conf", "autoballoon=\"off\"\n"),
    ("etc/hosts", "127.0.0.1 localhost dom0\n"),
];

/// A finished image: a folder in the cache.
pub(crate) struct Image {
    folder: PathBuf,
}

impl Image {
    /// The hypervisor, unpacked: QEMU's loader wants the ELF file.
    pub(crate) fn xen(&self) -> PathBuf {
        self.folder.join("xen")
    }

    pub(crate) fn kernel(&self) -> PathBuf {
        self.folder.join("vmlinuz")
    }

    /// Dom0's root, as a cpio archive to which others can be appended.
    pub(crate) fn root(&self) -> PathBuf {
        self.folder.join("root.cpio")
    }
}

/// The suite's image with these contents, from the cache if its inputs are what they were.
///
/// # Errors
/// The packages cannot be had, or do not hold what is expected.
pub(crate) fn ensure(suite: &Suite, contents: &Contents) -> Result<Image> {
    let cache = paths::cache(suite.name)?;
    let _lock = paths::lock(&cache)?;
    let apt = Apt::new(suite, contents, &cache);
    let closure = apt.resolve()?;
    let images = cache.join("images");
    let folder = images.join(key(suite, contents, &closure));
    if folder.exists() {
        File::open(&folder)?.set_modified(SystemTime::now())?;
        return Ok(Image { folder });
    }

    let packages = apt.download(&closure)?;
    fs::create_dir_all(&images)?;
    paths::need_room(&cache, 1500)?;
    say(&format!(
        "building the image of {} with {}",
        suite.name, contents.name
    ));
    let work = tempfile::Builder::new()
        .prefix("building-")
        .tempdir_in(&cache)?;
    let root = Root::new(work.path().join("packages"));
    unpack(&packages, root.path())?;
    let built = work.path().join("image");
    fs::create_dir(&built)?;
    build(suite, contents, &root, &built)
        .with_context(|| format!("the image of {} cannot be built", suite.name))?;
    // In one step, so that nobody sees half an image.
    fs::rename(&built, &folder)?;
    remove_old(&images, &cache)?;
    Ok(Image { folder })
}

fn key(suite: &Suite, contents: &Contents, closure: &Closure) -> String {
    let mut hash = Sha256::new();
    hash.update(format!("{RECIPE} {suite:?}"));
    hash.update(format!(
        "{:?} {:?}",
        contents.programs(suite),
        contents.files(suite)
    ));
    hash.update(format!(
        "{MODULES:?} {LOADED_LATER:?} {EMPTY_FOLDERS:?} {FILES:?}"
    ));
    hash.update(closure.files.join("\n"));
    let digest = hash.finalize();
    digest[..10].iter().map(|b| format!("{b:02x}")).collect()
}

fn unpack(packages: &[PathBuf], root: &Path) -> Result<()> {
    fs::create_dir_all(root)?;
    for package in packages {
        process::run(
            Command::new("dpkg-deb")
                .arg("--extract")
                .arg(package)
                .arg(root),
        )
        .with_context(|| {
            format!(
                "{} cannot be unpacked; if it is damaged, remove it",
                package.display()
            )
        })?;
    }
    Ok(())
}

fn build(suite: &Suite, contents: &Contents, root: &Root, to: &Path) -> Result<()> {
    let packed = root.read(&format!("boot/xen-{}-amd64.gz", suite.xen))?;
    let mut xen = Vec::new();
    GzDecoder::new(packed.as_slice())
        .read_to_end(&mut xen)
        .context("the hypervisor cannot be unpacked")?;
    fs::write(to.join("xen"), xen)?;
    fs::write(to.join("vmlinuz"), kernel(root)?)?;

    let file = BufWriter::new(File::create(to.join("root.cpio"))?);
    let mut archive = Archive::new(file);
    fill(&mut archive, suite, contents, root)?;
    archive.finish()?.flush()?;
    Ok(())
}

/// Suites since Linux 7 have it beside its modules.
fn kernel(root: &Root) -> Result<Vec<u8>> {
    let boot = root.list("boot");
    if let Some(name) = boot.iter().find(|name| name.starts_with("vmlinuz-")) {
        return root.read(&format!("boot/{name}"));
    }
    let version = root.list(MODULE_FOLDER).into_iter().next();
    let version = version.context("no package of the suite has a kernel")?;
    root.read(&format!("{MODULE_FOLDER}/{version}/vmlinuz"))
}

fn fill<W: Write>(
    archive: &mut Archive<W>,
    suite: &Suite,
    contents: &Contents,
    root: &Root,
) -> Result<()> {
    for folder in EMPTY_FOLDERS {
        archive.folder(folder)?;
    }
    // The kernel opens it for init before anything is mounted.
    archive.character_device("dev/console", 0o600, (5, 1))?;
    archive.symlink("var/run", "/run")?;
    archive.symlink("var/lock", "/run/lock")?;
    for (path, text) in FILES {
        archive.file(path, 0o644, text.as_bytes())?;
    }
    archive.file("bin/busybox", 0o755, &root.read("bin/busybox")?)?;
    let programs = contents.programs(suite);
    for path in programs
        .iter()
        .chain(&elf::libraries(root, &programs, LOADED_LATER)?)
    {
        archive.file(path, 0o755, &root.read(path)?)?;
    }
    for path in contents.files(suite) {
        archive.file(&path, root.mode(&path)?, &root.read(&path)?)?;
    }
    for module in MODULES {
        let bytes = read_module(root, module)?;
        archive.file(&format!("lab/modules/{module}.ko"), 0o644, &bytes)?;
    }
    Ok(())
}

const MODULE_FOLDER: &str = "lib/modules";

/// A module's file, unpacked: busybox's insmod reads nothing else.
fn read_module(root: &Root, name: &str) -> Result<Vec<u8>> {
    if let Ok(path) = root.search(MODULE_FOLDER, &format!("{name}.ko")) {
        return fs::read(&path).with_context(|| format!("cannot read {}", path.display()));
    }
    let path = root.search(MODULE_FOLDER, &format!("{name}.ko.xz"))?;
    Ok(process::run(Command::new("xz").arg("-dc").arg(path))?.stdout)
}

fn remove_old(images: &Path, cache: &Path) -> Result<()> {
    let mut all: Vec<_> = fs::read_dir(images)?
        .flatten()
        .filter_map(|entry| Some((entry.metadata().ok()?.modified().ok()?, entry.path())))
        .collect();
    all.sort();
    for (_, path) in all.iter().rev().skip(IMAGES_KEPT) {
        fs::remove_dir_all(path)?;
    }
    // Left behind by a lab that was killed; nobody else builds while we hold the lock.
    for entry in fs::read_dir(cache)?.flatten() {
        let name = entry.file_name();
        if name.as_encoded_bytes().starts_with(b"building-") {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
    Ok(())
}

/// Is it the disk that is full? Then say so instead of "write failed".
pub(crate) fn explain(error: &anyhow::Error) -> Option<&'static str> {
    error
        .chain()
        .filter_map(|cause| cause.downcast_ref::<io::Error>())
        .any(|cause| cause.kind() == io::ErrorKind::StorageFull)
        .then_some(
            "a disk is full: make room, or set XEN_LAB_CACHE and CARGO_TARGET_DIR to folders on \
             another disk",
        )
}
