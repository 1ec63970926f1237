// SPDX-License-Identifier: MIT OR Apache-2.0
//! The texts that the kernel writes of a process and a thread (`proc(5)`).

/// What `/proc/PID/task/TID/status` says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Status {
    pub(crate) state: char,
    /// Real, effective, saved, of the file system.
    pub(crate) uids: [u32; 4],
    pub(crate) gids: [u32; 4],
    pub(crate) groups: Vec<u32>,
    /// Its numbers, from the reader's pid namespace to its own.
    pub(crate) pids: Vec<i32>,
    /// Inheritable, permitted, effective, bounding, ambient.
    pub(crate) capabilities: [u64; 5],
    pub(crate) no_new_privs: bool,
    /// 0 none, 1 strict, 2 filters.
    pub(crate) seccomp: u32,
    /// How many filters (Linux 5.9).
    pub(crate) filters: Option<u32>,
    pub(crate) umask: Option<u32>,
    pub(crate) tracer: i32,
    /// How often it left a processor, voluntarily and not.
    pub(crate) switches: [u64; 2],
}

impl Status {
    /// Whether it runs no more, and only waits to be waited for.
    pub(crate) fn has_ended(&self) -> bool {
        matches!(self.state, 'Z' | 'X')
    }

    pub(crate) fn parse(text: &[u8]) -> Option<Self> {
        let lines: Vec<_> = text.split(|byte| *byte == b'\n').collect();
        let field = |name: &str| value(lines.iter().copied(), name);
        let capability = |name| u64::from_str_radix(field(name)?, 16).ok();
        Some(Self {
            state: field("State:")?.chars().next()?,
            uids: array(field("Uid:")?)?,
            gids: array(field("Gid:")?)?,
            groups: numbers(field("Groups:")?)?,
            pids: numbers(field("NSpid:")?)?,
            capabilities: [
                capability("CapInh:")?,
                capability("CapPrm:")?,
                capability("CapEff:")?,
                capability("CapBnd:")?,
                capability("CapAmb:")?,
            ],
            no_new_privs: field("NoNewPrivs:")? == "1",
            // Absent where the kernel has no seccomp.
            seccomp: field("Seccomp:").map_or(Some(0), |mode| mode.parse().ok())?,
            filters: field("Seccomp_filters:").and_then(|count| count.parse().ok()),
            umask: field("Umask:").and_then(|mask| u32::from_str_radix(mask, 8).ok()),
            tracer: field("TracerPid:")?.parse().ok()?,
            switches: [
                field("voluntary_ctxt_switches:")?.parse().ok()?,
                field("nonvoluntary_ctxt_switches:")?.parse().ok()?,
            ],
        })
    }
}

/// The number of the process that a thread belongs to, in a status.
pub(super) fn thread_group(text: &[u8]) -> Option<i32> {
    let lines = text.split(|byte| *byte == b'\n');
    value(lines, "Tgid:")?.parse().ok()
}

/// The value of a line. The kernel escapes a newline in `Name`.
fn value<'a>(mut lines: impl Iterator<Item = &'a [u8]>, name: &str) -> Option<&'a str> {
    let value = lines.find_map(|line| line.strip_prefix(name.as_bytes()))?;
    str::from_utf8(value).ok().map(str::trim)
}

fn numbers<T: std::str::FromStr>(text: &str) -> Option<Vec<T>> {
    text.split_ascii_whitespace()
        .map(|word| word.parse().ok())
        .collect()
}

fn array<T: std::str::FromStr, const N: usize>(text: &str) -> Option<[T; N]> {
    numbers(text)?.try_into().ok()
}

/// What `/proc/PID/stat` says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Stat {
    pub(super) parent: i32,
    /// Whether it is a thread of the kernel's: root's, with no parent but the kernel's, in the
    /// machine's first namespaces. No process can say so of itself.
    pub(super) is_kernels: bool,
    pub(super) session: i32,
    /// The controlling terminal's device; 0 is none.
    pub(super) terminal: i32,
    /// Ticks since the machine's start: with its number, this names a process.
    pub(super) started: u64,
    /// Addresses that an exec changes: start of code and stack, arguments, environment.
    pub(super) image: [u64; 4],
}

/// Of Linux's `linux/sched.h`.
const PF_KTHREAD: u32 = 0x0020_0000;

impl Stat {
    pub(super) fn parse(text: &[u8]) -> Option<Self> {
        // The name before may contain anything, ") " too.
        let end = text.iter().rposition(|byte| *byte == b')')?;
        let rest = str::from_utf8(text.get(end + 1..)?).ok()?;
        // The state, the third field, comes first here.
        let fields: Vec<_> = rest.split_ascii_whitespace().collect();
        let field = |number: usize| fields.get(number - 3).copied();
        let address = |number| field(number)?.parse().ok();
        Some(Self {
            parent: field(4)?.parse().ok()?,
            is_kernels: field(9)?.parse::<u32>().ok()? & PF_KTHREAD != 0,
            session: field(6)?.parse().ok()?,
            terminal: field(7)?.parse().ok()?,
            started: field(22)?.parse().ok()?,
            image: [address(26)?, address(28)?, address(48)?, address(50)?],
        })
    }
}

/// A limit of a process: `None` is unlimited.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Limit {
    pub(super) name: &'static str,
    pub(super) soft: Option<u64>,
    pub(super) hard: Option<u64>,
}

/// Our names, as in `prlimit(1)`, and the kernel's words in `/proc/PID/limits`.
pub(super) const LIMITS: [(&str, &str); 16] = [
    ("as", "Max address space"),
    ("core", "Max core file size"),
    ("cpu", "Max cpu time"),
    ("data", "Max data size"),
    ("fsize", "Max file size"),
    ("locks", "Max file locks"),
    ("memlock", "Max locked memory"),
    ("msgqueue", "Max msgqueue size"),
    ("nice", "Max nice priority"),
    ("nofile", "Max open files"),
    ("nproc", "Max processes"),
    ("rss", "Max resident set"),
    ("rtprio", "Max realtime priority"),
    ("rttime", "Max realtime timeout"),
    ("sigpending", "Max pending signals"),
    ("stack", "Max stack size"),
];

pub(super) fn limits(text: &[u8]) -> Option<Vec<Limit>> {
    let text = str::from_utf8(text).ok()?;
    let parse = |(name, words): (&'static str, &str)| {
        let mut lines = text.lines();
        let line = lines.find_map(|line| line.strip_prefix(words))?;
        let mut values = line.split_ascii_whitespace().map(|value| match value {
            "unlimited" => Some(None),
            number => number.parse().ok().map(Some),
        });
        let (soft, hard) = (values.next()??, values.next()??);
        Some(Limit { name, soft, hard })
    };
    LIMITS.into_iter().map(parse).collect()
}

/// A mount that a process can reach.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Mount {
    pub(super) id: u64,
    pub(super) device: (u32, u32),
    /// Which directory of the file system; escaped by the kernel, as is `point`.
    pub(super) root: String,
    pub(super) point: String,
    pub(super) read_only: bool,
    pub(super) kind: String,
    /// Options of the file system.
    pub(super) options: String,
}

/// Reads `mountinfo`. The last at a point is the one that is seen.
pub(super) fn mounts(text: &[u8]) -> Option<Vec<Mount>> {
    // What is not ASCII was chosen by somebody; it is shown, not compared.
    let text = String::from_utf8_lossy(text);
    // Not `lines`, to which a carriage return belongs to the line's end.
    text.split_terminator('\n').map(mount).collect()
}

fn mount(line: &str) -> Option<Mount> {
    let (before, after) = line.split_once(" - ")?;
    let mut fields = before.split(' ');
    let id = fields.next()?.parse().ok()?;
    let (major, minor) = fields.nth(1)?.split_once(':')?;
    let (root, point) = (fields.next()?.to_owned(), fields.next()?.to_owned());
    let flags = fields.next()?;
    let mut after = after.split(' ');
    let kind = after.next()?.to_owned();
    let options = after.nth(1)?.to_owned();
    let read_only = |list: &str| list.split(',').any(|option| option == "ro");
    Some(Mount {
        id,
        device: (major.parse().ok()?, minor.parse().ok()?),
        root,
        point,
        read_only: read_only(flags) || read_only(&options),
        kind,
        options,
    })
}

/// The names in an environment block.
pub(super) fn variables(block: &[u8]) -> Vec<Vec<u8>> {
    let entries = block
        .split(|byte| *byte == 0)
        .filter(|entry| !entry.is_empty());
    let name = |entry: &[u8]| {
        entry
            .split(|byte| *byte == b'=')
            .next()
            .unwrap_or_default()
            .to_vec()
    };
    let mut names: Vec<_> = entries.map(name).collect();
    names.sort();
    names
}

/// The interfaces in `/proc/PID/net/dev`.
pub(super) fn interfaces(text: &[u8]) -> Vec<String> {
    let text = String::from_utf8_lossy(text);
    let names = text
        .lines()
        .skip(2)
        .filter_map(|line| line.trim_start().split_once(':'));
    names.map(|(name, _)| name.to_owned()).collect()
}

/// The path in the unified hierarchy, of `/proc/PID/cgroup`.
pub(super) fn unified_cgroup(text: &[u8]) -> Option<Vec<u8>> {
    let mut lines = text.split(|byte| *byte == b'\n');
    lines
        .find_map(|line| line.strip_prefix(b"0::"))
        .map(<[u8]>::to_vec)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    const STATUS: &str = "Name:\ta\\nUid:\t0\nUmask:\t0077\nState:\tS (sleeping)\nTracerPid:\t0\n\
        Uid:\t1\t2\t3\t4\nGid:\t5\t6\t7\t8\nGroups:\t9 10 \nNSpid:\t300\t2\nCapInh:\t0000000000000001\n\
        CapPrm:\t0000000000000002\nCapEff:\t0000000000000003\nCapBnd:\t000001ffffffffff\n\
        CapAmb:\t0000000000000004\nNoNewPrivs:\t1\nSeccomp:\t2\nSeccomp_filters:\t3\n\
        voluntary_ctxt_switches:\t12\nnonvoluntary_ctxt_switches:\t34\n";

    #[test]
    fn a_status_is_read_whole_or_not_at_all() {
        let status = Status::parse(STATUS.as_bytes()).unwrap();
        assert_eq!((status.uids, status.gids), ([1, 2, 3, 4], [5, 6, 7, 8]));
        assert_eq!((status.groups, status.pids), (vec![9, 10], vec![300, 2]));
        assert_eq!(status.capabilities, [1, 2, 3, 0x1ff_ffff_ffff, 4]);
        assert_eq!(
            (status.seccomp, status.filters, status.umask),
            (2, Some(3), Some(0o77))
        );
        assert_eq!((status.switches, status.no_new_privs), ([12, 34], true));
        for line in STATUS.lines() {
            let without = STATUS.replace(&format!("{line}\n"), "");
            let optional = ["Name", "Umask", "Seccomp"]
                .iter()
                .any(|name| line.starts_with(name));
            assert_eq!(
                Status::parse(without.as_bytes()).is_some(),
                optional,
                "{line}"
            );
        }
    }

    #[test]
    fn the_name_in_a_stat_is_not_read() {
        let mut text = b"7 (a) R 1 2) S 5 ".to_vec();
        let numbers: Vec<_> = (5..=52).map(|n: u32| (n * 10).to_string()).collect();
        text.extend(numbers.join(" ").bytes());
        let stat = Stat::parse(&text).unwrap();
        assert_eq!(
            (stat.parent, stat.session, stat.terminal, stat.started),
            (5, 60, 70, 220)
        );
        assert_eq!(stat.image, [260, 280, 480, 500]);
        assert_eq!(Stat::parse(b"7 (a) S 5"), None);
        assert_eq!(Stat::parse(b""), None);
    }

    #[test]
    fn no_name_makes_a_process_the_kernels() {
        let rest = "0 0 0 0 0 0 0 0 0 0 20 0 1 0 22 0 0 0 0 0 0".to_owned() + &" 0".repeat(25);
        for (begins, is_kernels) in [
            ("2 (kthreadd) S 0 0 0 0 -1 2129984", true),
            ("7 (a) S 1 1 1 0 -1 4194560", false),
            (
                "7 (a) S 0 0 0 0 -1 2129984 0 0) S 1 1 1 0 -1 4194560",
                false,
            ),
        ] {
            let stat = Stat::parse(format!("{begins} {rest}").as_bytes()).unwrap();
            assert_eq!(stat.is_kernels, is_kernels, "{begins}");
        }
        let stat = fs::read("/proc/self/stat").unwrap();
        assert!(!Stat::parse(&stat).unwrap().is_kernels);
    }

    #[test]
    fn this_process_can_be_read() {
        let read = |name: &str| fs::read(format!("/proc/self/{name}")).unwrap();
        assert!(Status::parse(&read("status")).is_some());
        assert!(Stat::parse(&read("stat")).is_some());
        assert_eq!(limits(&read("limits")).unwrap().len(), LIMITS.len());
        let mounts = mounts(&read("mountinfo")).unwrap();
        assert!(
            mounts
                .iter()
                .any(|mount| mount.point == "/proc" && mount.kind == "proc")
        );
        assert!(interfaces(&read("net/dev")).iter().any(|name| name == "lo"));
    }

    #[test]
    fn a_mount_is_read_only_by_itself_or_by_its_file_system() {
        let line = |flags: &str, options: &str| {
            let text = format!(
                "36 35 98:0 /a\\040b /mnt {flags} master:1 shared:2 - tmpfs none {options}\n"
            );
            mounts(text.as_bytes()).unwrap().remove(0)
        };
        let mount = line("rw,noatime", "rw,size=1m");
        assert_eq!(
            (mount.id, mount.device, mount.read_only),
            (36, (98, 0), false)
        );
        assert_eq!(
            (&*mount.root, &*mount.point, &*mount.kind),
            ("/a\\040b", "/mnt", "tmpfs")
        );
        assert!(line("ro,nosuid", "rw").read_only && line("rw", "ro").read_only);
        assert!(!line("rw,errors=ro", "rw").read_only);
        // What ends an option is the kernel's newline and nothing else.
        assert!(!line("rw", "rw,ro\r").read_only);
        assert_eq!(mounts(b"36 35 98:0 / /mnt rw\n"), None);
    }

    #[test]
    fn variables_are_names_only() {
        let names = variables(b"B=2\0A=1=3\0\0empty\0=x\0");
        assert_eq!(names, [&b""[..], b"A", b"B", b"empty"]);
        assert_eq!(unified_cgroup(b"1:cpu:/x\n0::/a b\n").unwrap(), b"/a b");
        assert_eq!(unified_cgroup(b"1:cpu:/x\n"), None);
    }
}
