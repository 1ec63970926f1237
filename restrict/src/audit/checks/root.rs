// SPDX-License-Identifier: MIT OR Apache-2.0
//! `root`, and the `landlock` that nobody sees.

use std::path::Path;

use super::{Judged, View, unseen};
use crate::{
    audit::{place::Place, process::Thread, status::Mount, text},
    confine::{Mechanism, Profile},
    launch::Record,
};

impl View<'_> {
    pub(super) fn root(&self) -> Judged {
        let strict = self.expectation.profile != Profile::Libxl;
        let deviations = self.deviations(|_, thread| {
            let place = &thread.place;
            if self
                .vantage
                .roots
                .contains(&(place.root.device, place.root.inode))
            {
                return Some("the machine's root directory".to_owned());
            }
            // What `libxl` itself makes is an empty directory.
            let wrong = self.not_fresh(place);
            let wrong = if strict {
                wrong
            } else {
                wrong.and_then(|_| not_empty(thread))
            };
            wrong.or_else(|| outside(place))
        });
        let expected = match strict {
            true => "a fresh read-only tmpfs with what was named",
            false => "a fresh read-only tmpfs with what was named, or an empty directory",
        };
        let seen = self
            .threads()
            .next()
            .map_or_else(String::new, |(_, thread)| {
                let place = &thread.place;
                match self.not_fresh(place) {
                    None => described(place),
                    Some(_) => "an empty directory that it cannot change".to_owned(),
                }
            });
        Judged::of(expected, seen, &deviations)
    }

    fn not_fresh(&self, place: &Place) -> Option<String> {
        let Some(root) = place.mounts.iter().rfind(|mount| mount.point == "/") else {
            return Some("a directory inside of a mount, to leave by `..`".to_owned());
        };
        if root.kind != "tmpfs" {
            return Some(format!("a {}", root.kind.escape_default()));
        }
        if !root.read_only {
            return Some("a tmpfs that can be written to".to_owned());
        }
        let point = |mount: &Mount| text::quoted(mount.point.as_bytes());
        let roots = &self.vantage.roots;
        let is_root = |mount: &Mount| roots.iter().any(|(device, _)| *device == mount.device);
        let machines = |mount: &&Mount| mount.root == "/" && is_root(mount);
        if let Some(whole) = place.mounts.iter().find(machines) {
            let point = point(whole);
            return Some(format!("the machine's whole root file system at {point}"));
        }
        let record = self.expectation.record.as_ref()?;
        let unnamed = place.mounts.iter().find(|mount| !is_named(record, mount))?;
        let how = if unnamed.read_only {
            ""
        } else {
            ", to be written to"
        };
        Some(format!(
            "{} mounted{how}, which was not named",
            point(unnamed)
        ))
    }

    pub(super) fn landlock(&self) -> Judged {
        let expected = match self.of_qemu() {
            Some(_) => "only named files, while it was root",
            None => "only named paths; abstract sockets and signals scoped",
        };
        let mut judged = unseen(expected, self.expectation.recorded(Mechanism::Landlock));
        let record = self.expectation.record.as_ref();
        if let Some(abi) = record.and_then(|record| record.landlock_abi) {
            judged.seen += &format!(", ABI {abi}");
        }
        judged
    }
}

/// Whether a mount is of what the launcher recorded. The kernel escapes as little as a
/// space in its path; such a path is shown, and fails.
fn is_named(record: &Record, mount: &Mount) -> bool {
    let below = |path: &String| Path::new(&mount.point).starts_with(path);
    let writable = record.read_write.iter().any(below);
    mount.point == "/" || writable || mount.read_only && record.read_only.iter().any(below)
        // A proc(5) is its own processes' only.
        || mount.point == "/proc" && mount.kind == "proc" && record.read_only.iter().any(below)
}

/// What is wrong with a directory that should be empty, and stay so.
fn not_empty(thread: &Thread) -> Option<String> {
    let root = &thread.place.root;
    match thread.place.empty {
        Some(true) => {}
        Some(false) => return Some("a directory that is not empty".to_owned()),
        None => return Some("a directory that may not answer when it is listed".to_owned()),
    }
    let owner = root.uid == thread.status.uids[1];
    let writable = root.mode & 0o002 != 0 || owner && root.mode & 0o200 != 0;
    (writable || owner).then(|| "a directory that it can change".to_owned())
}

/// A current directory from which `..` leads elsewhere.
fn outside(place: &Place) -> Option<String> {
    let (root, current) = (&place.root, &place.current);
    let same = (current.device, current.inode) == (root.device, root.inode);
    let reachable = || {
        place
            .mounts
            .iter()
            .any(|mount| Some(mount.id) == current.mount)
    };
    let below = || {
        let rest = place.current_path.strip_prefix(place.root_path.as_slice());
        current.mount == root.mount && rest.is_some_and(|rest| rest.starts_with(b"/"))
    };
    let inside = same || reachable() || below();
    (!inside).then(|| {
        format!(
            "current directory {} is outside",
            text::quoted(&place.current_path)
        )
    })
}

fn described(place: &Place) -> String {
    let inside = place.mounts.iter().filter(|mount| mount.point != "/");
    let (read_only, writable): (Vec<_>, Vec<_>) = inside.partition(|mount| mount.read_only);
    let points: Vec<_> = writable
        .iter()
        .map(|mount| text::quoted(mount.point.as_bytes()))
        .collect();
    let mut seen = format!(
        "a read-only tmpfs, {} read-only mounts in it",
        read_only.len()
    );
    if !points.is_empty() {
        seen += &format!(", writable: {}", text::some(&points));
    }
    seen
}
