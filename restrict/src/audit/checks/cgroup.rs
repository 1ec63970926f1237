// SPDX-License-Identifier: MIT OR Apache-2.0
//! `cgroup`.

use std::{os::unix::ffi::OsStrExt as _, path::PathBuf};

use super::{Judged, View};
use crate::{
    audit::{report::Verdict, text},
    confine::proc_file::whole,
};

/// The files whose number bounds a group.
const LIMITS: [&str; 3] = ["pids.max", "memory.max", "memory.swap.max"];
const EXPECTED: &str = "a group of its own, with pids.max, memory.max and memory.swap.max";

impl View<'_> {
    pub(super) fn cgroup(&self) -> Judged {
        let Some(tree) = self
            .vantage
            .mounts
            .iter()
            .find(|mount| mount.kind == "cgroup2")
        else {
            let seen = "no unified control group hierarchy is mounted here";
            return Judged::new(EXPECTED, seen, Verdict::NotObserved);
        };
        let recorded = self
            .expectation
            .record
            .as_ref()
            .and_then(|record| record.cgroup.as_deref());
        // The record has the directory, the kernel tells the path from the mount on.
        let recorded =
            recorded.map(|path| path.strip_prefix(&tree.point).unwrap_or(path).as_bytes());
        let deviations = self.deviations_but_init(|_, thread| {
            let Some(path) = &thread.cgroup else {
                return Some("none in the unified hierarchy".to_owned());
            };
            let shown = text::quoted(path);
            if let Some(group) = recorded {
                let rest = path.strip_prefix(group);
                let inside = rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(b"/"));
                return (!inside).then(|| format!("{shown}, not the recorded group"));
            }
            (path == b"/").then(|| "the machine's root group".to_owned())
        });
        if !deviations.is_empty() {
            return Judged::of(EXPECTED, "", &deviations);
        }
        let group = match (recorded, self.threads().next()) {
            (Some(group), _) => group.to_vec(),
            (None, Some((_, thread))) => thread.cgroup.clone().unwrap_or_default(),
            (None, None) => Vec::new(),
        };
        let relative = group.strip_prefix(b"/").unwrap_or(&group);
        let directory = PathBuf::from(&tree.point).join(std::ffi::OsStr::from_bytes(relative));
        let values = LIMITS.map(|file| {
            let value = whole(directory.join(file));
            (
                file,
                value.map(|text| String::from_utf8_lossy(&text).trim().to_owned()),
            )
        });
        let wrong: Vec<_> = values
            .iter()
            .filter_map(|(file, value)| match value {
                Ok(value) if value == "max" => Some(format!("{file} is not set")),
                Ok(_) => None,
                Err(_) => Some(format!("{file} is not there")),
            })
            .collect();
        let set = values
            .iter()
            .filter_map(|(file, value)| Some(format!("{file} {}", value.as_ref().ok()?)));
        let seen = format!(
            "{}: {}",
            text::quoted(&group),
            set.collect::<Vec<_>>().join(", ")
        );
        Judged::of(EXPECTED, seen, &wrong)
    }
}
