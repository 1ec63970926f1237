// SPDX-License-Identifier: MIT OR Apache-2.0
//! Whether /proc shows processes of others (`hidepid`, proc(5)), by the way it is mounted.

use std::io;

use nix::unistd::{getegid, getgroups};

use super::proc_file::whole;

/// Who sees them there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shown {
    All,
    /// And who may trace them.
    Group(u32),
    /// Who may trace them.
    Tracers,
}

/// Whether this process sees all only with CAP_SYS_PTRACE.
pub(super) fn takes_ptrace() -> io::Result<bool> {
    match shown(&whole("/proc/thread-self/mountinfo")?) {
        Shown::All => Ok(false),
        Shown::Tracers => Ok(true),
        Shown::Group(gid) => {
            let groups = getgroups()?;
            let mut ours = groups.into_iter().chain([getegid()]);
            Ok(ours.all(|ours| ours.as_raw() != gid))
        }
    }
}

/// By the last mount there, of the mounts in `mountinfo`.
pub(super) fn shown(mountinfo: &[u8]) -> Shown {
    let text = String::from_utf8_lossy(mountinfo);
    let proc = text
        .lines()
        .rfind(|line| line.split(' ').nth(4) == Some("/proc"));
    let options = proc.and_then(|line| line.rsplit(' ').next());
    let option = |name| {
        let mut options = options.unwrap_or_default().split(',');
        options.find_map(|option| option.strip_prefix(name))
    };
    match option("hidepid=") {
        None | Some("0" | "off") => Shown::All,
        // Root's is not shown, as that is what it is if none is given.
        Some("1" | "noaccess" | "2" | "invisible") => match option("gid=").map(str::parse) {
            None => Shown::Group(0),
            Some(Ok(gid)) => Shown::Group(gid),
            Some(Err(_)) => Shown::Tracers,
        },
        Some(_) => Shown::Tracers,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_that_of_the_topmost_proc() {
        let line = |options| format!("22 27 0:21 / /proc rw,relatime - proc proc rw{options}\n");
        for (options, expected) in [
            ("", Shown::All),
            (",hidepid=0", Shown::All),
            (",hidepid=off", Shown::All),
            (",gid=4,hidepid=2", Shown::Group(4)),
            (",gid=4294967296,hidepid=2", Shown::Tracers),
            (",hidepid=invisible,subset=pid", Shown::Group(0)),
            (",hidepid=1", Shown::Group(0)),
            (",hidepid=noaccess,gid=7", Shown::Group(7)),
            (",hidepid=4", Shown::Tracers),
            (",gid=0,hidepid=ptraceable", Shown::Tracers),
            (",hidepid=of-the-future", Shown::Tracers),
        ] {
            let text = format!("1 1 0:1 / / rw - ext4 /dev/a rw\n{}", line(options));
            assert_eq!(shown(text.as_bytes()), expected, "{text}");
            let covered = text + &line("");
            assert_eq!(shown(covered.as_bytes()), Shown::All);
        }
    }
}
