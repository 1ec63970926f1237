// SPDX-License-Identifier: MIT OR Apache-2.0
//! Paths that somebody renames while a program is started: what was looked at is what is
//! there.

use std::{
    fs,
    os::unix::{
        fs::{chown, symlink},
        net::UnixListener,
    },
    path::Path,
    sync::atomic::{AtomicBool, Ordering::Relaxed},
    thread,
};

use nix::{
    fcntl::{AT_FDCWD, RenameFlags, renameat2},
    sys::stat::Mode,
    unistd::mkfifo,
};

use crate::support::launcher::{Launcher, open_to_all};

/// With one, what is seldom would not be seen.
const LAUNCHES: usize = 40;

/// Stops the renaming when it goes.
struct Stops<'s>(&'s AtomicBool);

impl Drop for Stops<'_> {
    fn drop(&mut self) {
        self.0.store(true, Relaxed);
    }
}

/// Launches with `tree` bound, which is a directory with a file or one with what `live`
/// puts there, in turns and without a pause.
fn never_bound(live: impl Fn(&Path)) {
    let place = tempfile::tempdir().unwrap();
    open_to_all(place.path());
    let (tree, other) = (place.path().join("tree"), place.path().join("other"));
    for directory in [&tree, &other] {
        fs::create_dir(directory).unwrap();
    }
    fs::write(tree.join("file"), "").unwrap();
    live(&other);
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        // Also where a check below fails.
        let _stopped = Stops(&stop);
        scope.spawn(|| {
            while !stop.load(Relaxed) {
                let swapped = renameat2(
                    AT_FDCWD,
                    &tree,
                    AT_FDCWD,
                    &other,
                    RenameFlags::RENAME_EXCHANGE,
                );
                swapped.unwrap();
            }
        });
        let list = format!("list={}", tree.display());
        let mut started = 0;
        let mut wrong = 0;
        for _ in 0..LAUNCHES {
            let launcher = Launcher::new().option("--bind-ro").option(&tree);
            let ended = launcher.probe_does([&list]);
            match (ended.code, ended.stdout.trim()) {
                (0, "list [\"file\"]") => started += 1,
                (125, "") => assert!(ended.stderr.contains(" root: "), "{ended:?}"),
                _ => wrong += 1,
            }
        }
        assert_eq!(wrong, 0, "of {LAUNCHES}, {started} as they should be");
    });
}

#[test]
fn a_tree_that_is_swapped_for_one_with_a_socket_is_not_bound() {
    never_bound(|directory| {
        std::mem::forget(UnixListener::bind(directory.join("socket")).unwrap());
    });
}

#[test]
fn nor_for_one_with_a_fifo() {
    never_bound(|directory| mkfifo(&directory.join("fifo"), Mode::S_IRWXU).unwrap());
}

#[test]
fn who_decides_what_a_path_leads_to_is_told() {
    let launcher = Launcher::new();
    fs::create_dir_all(launcher.path("theirs/tree")).unwrap();
    chown(launcher.path("theirs"), Some(12345), None).unwrap();
    symlink("theirs/tree", launcher.path("link")).unwrap();
    let (theirs, link) = (launcher.path("theirs"), launcher.path("link"));
    let ended = launcher
        .option("--bind-ro")
        .option(link)
        .probe_does(["say=x"]);
    let told = format!("{:?}", theirs.to_str().unwrap());
    assert!(ended.stderr.contains(&told), "{ended:?}");
    ended.with_code(0);

    let launcher = Launcher::new();
    let theirs = launcher.path("theirs");
    fs::create_dir(&theirs).unwrap();
    chown(&theirs, Some(12345), None).unwrap();
    let ended = launcher
        .option("--bind-ro")
        .option(theirs)
        .probe_does(["say=x"]);
    assert!(ended.stderr.contains("after this look"), "{ended:?}");

    // What is the program's own is not others'.
    let launcher = Launcher::new();
    let own = launcher.writable_dir("own");
    let ended = launcher
        .option("--bind-rw")
        .option(own)
        .probe_does(["say=x"]);
    assert_eq!(ended.stderr, "");
}
