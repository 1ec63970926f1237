// SPDX-License-Identifier: MIT OR Apache-2.0
//! A process as it is at one look: its threads, descriptor tables, and what they share.

use std::{
    collections::BTreeSet,
    os::fd::{AsFd, OwnedFd},
};

use nix::errno::Errno;

use super::{
    descriptor::{Descriptor, MISC, Reader},
    place::{Place, Places},
    procfs::{ProcDir, Unread, number_in},
    report::Role,
    status::{self, Limit, Stat, Status},
    sys::{self, Whom},
    vantage::{NAMESPACES, Vantage},
};

/// Holds a process by its number, so that it stays this one.
#[derive(Debug)]
pub(super) struct Target {
    pub(super) pid: i32,
    pidfd: OwnedFd,
    pub(super) dir: ProcDir,
}

impl Target {
    pub(super) fn open(pid: i32) -> Result<Self, Unread> {
        let pidfd = sys::pidfd_open(pid, Whom::Process).map_err(|errno| match errno {
            // EINVAL, ENOENT: of a thread that is not the first.
            Errno::ESRCH | Errno::EINVAL | Errno::ENOENT => Unread::Gone,
            other => Unread::Failed("pidfd_open".into(), other.into()),
        })?;
        let dir = ProcDir::of(pid)?;
        let target = Self { pid, pidfd, dir };
        // While the first is there, the directory is of the same.
        if target.has_ended() {
            Err(Unread::Gone)
        } else {
            Ok(target)
        }
    }

    /// Whether all its threads have ended.
    pub(super) fn has_ended(&self) -> bool {
        sys::is_readable(self.pidfd.as_fd())
    }

    /// Whether this process may look into it at all: asked of a descriptor that it cannot
    /// have.
    pub(super) fn may_duplicate(&self) -> Result<(), Errno> {
        match sys::pidfd_getfd(self.pidfd.as_fd(), i32::MAX) {
            Err(Errno::EBADF | Errno::ESRCH) | Ok(_) => Ok(()),
            Err(other) => Err(other),
        }
    }
}

/// A process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Process {
    pub(super) pid: i32,
    pub(super) started: u64,
    pub(super) role: Role,
    pub(super) parent: i32,
    pub(super) session: i32,
    pub(super) terminal: i32,
    /// What an exec would change.
    image: [u64; 4],
    exe: Option<Vec<u8>>,
    pub(super) name: Name,
    pub(super) limits: Vec<Limit>,
    pub(super) env: Vec<Vec<u8>>,
    /// Of which devices something is mapped: Xen's, the machine's memory, and others.
    pub(super) mapped: Vec<String>,
    /// What else is mapped, but memory of nobody's.
    pub(super) mapped_files: Vec<MappedFile>,
    pub(super) threads: Vec<Thread>,
    pub(super) tables: Vec<Table>,
}

/// What is mapped, and no device.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct MappedFile {
    /// What /proc calls it.
    pub(super) link: Vec<u8>,
    pub(super) stat: sys::Stat,
    /// Whether it can be written to by what maps it.
    pub(super) writes: bool,
}

/// What a process is called. It can change that at any time, and nothing depends on it.
#[derive(Clone, Debug)]
pub(super) struct Name(pub(super) Vec<u8>);

impl PartialEq for Name {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for Name {}

/// A thread.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Thread {
    pub(super) tid: i32,
    pub(super) status: Credentials,
    /// In the order of [`NAMESPACES`].
    pub(super) namespaces: [u64; 6],
    /// The pid namespace of the processes it will start.
    pub(super) pid_for_children: u64,
    pub(super) cgroup: Option<Vec<u8>>,
    /// Its root and current directory.
    pub(super) place: Place,
    /// Which of the process's descriptor tables; none where it cannot be told.
    pub(super) table: Option<usize>,
}

/// What a thread may do by itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Credentials {
    pub(super) uids: [u32; 4],
    pub(super) gids: [u32; 4],
    pub(super) groups: Vec<u32>,
    pub(super) capabilities: [u64; 5],
    pub(super) no_new_privs: bool,
    pub(super) seccomp: u32,
    pub(super) filters: Option<u32>,
    pub(super) umask: Option<u32>,
}

impl From<Status> for Credentials {
    fn from(status: Status) -> Self {
        let Status {
            uids,
            gids,
            groups,
            capabilities,
            no_new_privs,
            seccomp,
            filters,
            umask,
            ..
        } = status;
        Self {
            uids,
            gids,
            groups,
            capabilities,
            no_new_privs,
            seccomp,
            filters,
            umask,
        }
    }
}

/// A descriptor table, and one thread that has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Table {
    pub(super) tid: i32,
    pub(super) descriptors: Vec<Descriptor>,
}

impl Process {
    /// Reads all of it. `None` if it has ended, and only waits to be waited for.
    pub(super) fn read(
        target: &Target,
        role: Role,
        reader: &mut Reader<'_>,
        places: &mut Places<'_>,
    ) -> Result<Option<Self>, Unread> {
        let dir = &target.dir;
        let stat = parse_stat(dir)?;
        let mut threads = Vec::new();
        for tid in dir.numbers("task")? {
            let thread = dir.thread(tid)?;
            let status = parse_status(&thread)?;
            if !status.has_ended() {
                threads.push(read_thread(tid, &thread, status, places)?);
            }
        }
        // Of a first thread that has ended, the kernel shows no memory.
        let Some(live) = threads.first() else {
            return Ok(None);
        };
        let live = dir.thread(live.tid)?;
        let owners = assign_tables(&mut threads).into_iter();
        let (mapped, mapped_files) = mapped(&live, dir, reader.vantage)?;
        let tables = owners.map(|tid| read_table(target, tid, reader));
        let limits = dir.read("limits")?;
        Ok(Some(Self {
            pid: target.pid,
            started: stat.started,
            role,
            parent: stat.parent,
            session: stat.session,
            terminal: stat.terminal,
            image: parse_stat(&live)?.image,
            exe: exe(&live)?,
            limits: status::limits(&limits).ok_or_else(|| Unread::nonsense("limits"))?,
            env: status::variables(&live.read("environ")?),
            name: Name(dir.read("comm")?.trim_ascii_end().to_vec()),
            tables: tables.collect::<Result<_, _>>()?,
            mapped,
            mapped_files,
            threads,
        }))
    }

    /// Whether a mount can be reached from a root of its.
    pub(super) fn has_mount(&self, mount: Option<u64>) -> bool {
        let mut places = self.threads.iter().map(|thread| &thread.place);
        places.any(|place| place.mounts.iter().any(|own| Some(own.id) == mount))
    }

    /// The executable file's path, as it was when it was started.
    pub(super) fn exe(&self) -> Option<&[u8]> {
        self.exe.as_deref()
    }
}

fn parse_stat(dir: &ProcDir) -> Result<Stat, Unread> {
    Stat::parse(&dir.read("stat")?).ok_or_else(|| Unread::nonsense("stat"))
}

pub(super) fn parse_status(thread: &ProcDir) -> Result<Status, Unread> {
    Status::parse(&thread.read("status")?).ok_or_else(|| Unread::nonsense("status"))
}

/// None for what has no file, as a kernel thread.
fn exe(dir: &ProcDir) -> Result<Option<Vec<u8>>, Unread> {
    match dir.link("exe") {
        Err(Unread::Gone) => Ok(None),
        link => link.map(Some),
    }
}

fn read_thread(
    tid: i32,
    dir: &ProcDir,
    status: Status,
    places: &mut Places<'_>,
) -> Result<Thread, Unread> {
    let mut namespaces = [0; 6];
    for (namespace, (_, kind, _)) in namespaces.iter_mut().zip(NAMESPACES) {
        *namespace = dir.namespace(kind)?;
    }
    let for_children = dir.link("ns/pid_for_children");
    let pid_for_children = match for_children {
        // Until the first of them is there.
        Err(Unread::Gone) => 0,
        link => number_in(&link?, "pid").ok_or_else(|| Unread::nonsense("ns/pid_for_children"))?,
    };
    Ok(Thread {
        tid,
        status: status.into(),
        namespaces,
        pid_for_children,
        cgroup: status::unified_cgroup(&dir.read("cgroup")?),
        place: places.of(dir, &namespaces)?,
        table: None,
    })
}

/// Finds out which threads share a descriptor table; returns the first thread of each.
fn assign_tables(threads: &mut [Thread]) -> Vec<i32> {
    let mut owners: Vec<i32> = Vec::new();
    for thread in threads {
        let mut table = Some(owners.len());
        for (at, owner) in owners.iter().enumerate() {
            match sys::share_files(*owner, thread.tid) {
                Ok(false) => continue,
                Ok(true) => table = Some(at),
                // The kernel cannot tell, or one of them has ended.
                Err(_) => table = None,
            }
            break;
        }
        if table == Some(owners.len()) {
            owners.push(thread.tid);
        }
        thread.table = table;
    }
    owners
}

fn read_table(target: &Target, tid: i32, reader: &mut Reader<'_>) -> Result<Table, Unread> {
    let dir = target.dir.thread(tid)?;
    // The process's own descriptor serves for its first thread's table only.
    let thread = (tid != target.pid).then(|| sys::pidfd_open(tid, Whom::Thread));
    let pidfd = match &thread {
        None => Some(target.pidfd.as_fd()),
        Some(thread) => thread.as_ref().ok().map(AsFd::as_fd),
    };
    let numbers = dir.numbers("fd")?;
    let descriptors = numbers
        .into_iter()
        .map(|number| reader.read(&dir, pidfd, number));
    Ok(Table {
        tid,
        descriptors: descriptors.collect::<Result<_, _>>()?,
    })
}

/// How others than Xen's, and the machine's memory, are called.
pub(super) const DEVICE: &str = "device ";

/// Devices that memory is mapped from, and files, each once. Only the process's own directory
/// has links to what is mapped.
fn mapped(
    live: &ProcDir,
    dir: &ProcDir,
    vantage: &Vantage,
) -> Result<(Vec<String>, Vec<MappedFile>), Unread> {
    let text = live.read("maps")?;
    let ranges = map_files(&text).ok_or_else(|| Unread::nonsense("maps"))?;
    let (mut devices, mut files) = (BTreeSet::new(), BTreeSet::new());
    let (mut private, mut known) = (Vec::new(), BTreeSet::new());
    for range in ranges {
        // A library is some ranges. How one that is shared was opened, each tells for itself.
        if !range.shared && known.contains(range.file) {
            continue;
        }
        let path = range.link().ok_or_else(|| Unread::nonsense("maps"))?;
        let stat = dir.stat(&path)?;
        match way_out(&stat, vantage) {
            Some(device) => {
                devices.insert(device);
            }
            None if stat.kind() == libc::S_IFCHR || stat.device == vantage.memory_files => {}
            None => {
                if range.is_told_apart(&stat) {
                    known.insert(range.file);
                }
                if !range.shared && private.contains(&stat) {
                    continue;
                }
                if !range.shared {
                    private.push(stat);
                }
                files.insert(MappedFile {
                    link: dir.link(&path)?,
                    stat,
                    writes: range.shared && dir.writes(&path)?,
                });
            }
        }
    }
    Ok((devices.into_iter().collect(), files.into_iter().collect()))
}

fn way_out(file: &sys::Stat, vantage: &Vantage) -> Option<String> {
    // Linux's `Documentation/admin-guide/devices.txt`.
    match (file.kind(), file.special) {
        // Zeroes are no device's.
        (libc::S_IFCHR, (1, 5)) => None,
        (libc::S_IFCHR, (1, 1 | 2 | 4)) => Some("mem".to_owned()),
        (libc::S_IFCHR, (MISC, minor)) if let Some(name) = vantage.xen.get(&minor) => {
            Some(name.clone())
        }
        (libc::S_IFCHR | libc::S_IFBLK, (major, minor)) => Some(format!("{DEVICE}{major}:{minor}")),
        (libc::S_IFREG, _) if Some(file.device) == vantage.xenfs => Some("xenfs".to_owned()),
        _ => None,
    }
}

/// A range where a file is mapped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Mapped<'a> {
    range: &'a [u8],
    /// Whether what is written there is written to the file.
    pub(super) shared: bool,
    /// Device, inode and path of the file, as the text has them.
    file: &'a [u8],
}

/// The ranges where files are mapped.
pub(super) fn map_files(maps: &[u8]) -> Option<Vec<Mapped<'_>>> {
    let mut ranges = Vec::new();
    for line in maps.split(|byte| *byte == b'\n') {
        if line.is_empty() {
            continue;
        }
        let mut fields = line.splitn(4, |byte| *byte == b' ');
        let [Some(range), Some(mode), Some(_), Some(file)] = [(); 4].map(|()| fields.next()) else {
            return None;
        };
        let mapped = Mapped {
            range,
            shared: !mode.ends_with(b"p"),
            file,
        };
        // An inode's number alone can be 0, where a server gives it.
        if mapped.numbers()? != ((0, 0), 0) {
            ranges.push(mapped);
        }
    }
    Some(ranges)
}

impl Mapped<'_> {
    /// What leads to the file: there the addresses have no zeroes in front.
    pub(super) fn link(&self) -> Option<String> {
        let (from, to) = str::from_utf8(self.range).ok()?.split_once('-')?;
        let number = |hex| u64::from_str_radix(hex, 16).ok();
        Some(format!("map_files/{:x}-{:x}", number(from)?, number(to)?))
    }

    /// Of the file: device, and inode.
    fn numbers(&self) -> Option<((u32, u32), u64)> {
        let mut fields = self.file.splitn(3, |byte| *byte == b' ');
        let mut next = || str::from_utf8(fields.next()?).ok();
        let (major, minor) = next()?.split_once(':')?;
        let number = |hex| u32::from_str_radix(hex, 16).ok();
        let device = (number(major)?, number(minor)?);
        Some((device, next()?.parse().ok()?))
    }

    /// Whether lines that say the same are of the same file. So it is on a disk, where `stat` has
    /// the file system's own device number: btrfs has one more for each subvolume, in which inodes
    /// have the same numbers. And in memory numbers of inodes come again after some time.
    fn is_told_apart(&self, stat: &sys::Stat) -> bool {
        let (major, _) = stat.device;
        major != 0 && self.numbers() == Some((stat.device, stat.inode))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_private_may_be_shared() {
        let shared = |mode| {
            let line = format!("400000-40a000 {mode} 00000000 fd:01 77 /a b\n");
            map_files(line.as_bytes()).unwrap()[0].shared
        };
        assert_eq!(
            ["r-xp", "rw-p", "rw-s", "r--s", "?"].map(shared),
            [false, false, true, true, true]
        );
        assert_eq!(
            map_files(b"400000-40a000 rw-p 00000000 00:00 0 [heap]\n"),
            Some(vec![])
        );
        for of_a_file in ["00:35 0", "00:00 7"] {
            let line = format!("400000-40a000 rw-p 00000000 {of_a_file} /a\n");
            assert_eq!(map_files(line.as_bytes()).map(|all| all.len()), Some(1));
        }
    }

    #[test]
    fn what_is_no_line_of_a_map_is_not_passed_over() {
        for line in [
            "400000-40a000",
            "400000-40a000 rw-p 00000000",
            "400000-40a000 rw-p 00000000 fd:01",
            "400000-40a000 rw-p 00000000 fd01 77 /a",
            "400000-40a000 rw-p 00000000 fd:01 x /a",
        ] {
            let maps = format!("400000-40a000 rw-p 00000000 fd:01 77 /a\n{line}\n");
            assert_eq!(map_files(maps.as_bytes()), None, "{line}");
        }
    }

    #[test]
    fn the_text_tells_files_apart_but_for_parts_of_a_file_system() {
        let stat = sys::Stat {
            device: (0xfd, 1),
            inode: 77,
            ..sys::stat_at("/").unwrap()
        };
        let told = |file: &str| {
            let line = format!("400000-40a000 r-xp 00000000 {file}\n");
            map_files(line.as_bytes()).unwrap()[0].is_told_apart(&stat)
        };
        assert!(told("fd:01 77                         /a b"));
        assert!(told("fd:01 77"));
        // Of btrfs a map has the device of all, and `stat` the subvolume's.
        for other in ["00:2a 77 /a b", "fd:02 77 /a b", "fd:01 78 /a b"] {
            assert!(!told(other), "{other}");
        }
        // No device is below a file system in memory.
        let line = b"400000-40a000 r-xp 00000000 00:01 77 /a\n";
        let in_memory = sys::Stat {
            device: (0, 1),
            ..stat
        };
        assert!(!map_files(line).unwrap()[0].is_told_apart(&in_memory));
    }

    #[test]
    fn each_device_that_is_mapped_is_named_but_zeroes() {
        let mut vantage = Vantage::new().expect("run the tests as root");
        vantage.xen = [(62, "privcmd".to_owned())].into();
        let zero = sys::stat_at("/dev/zero").unwrap();
        let named = |kind, special| {
            let mode = kind | 0o600;
            way_out(
                &sys::Stat {
                    mode,
                    special,
                    ..zero
                },
                &vantage,
            )
        };
        assert_eq!(way_out(&zero, &vantage), None);
        assert_eq!(named(libc::S_IFCHR, (1, 1)).as_deref(), Some("mem"));
        // /dev/hpet.
        let hpet = named(libc::S_IFCHR, (MISC, 228));
        assert_eq!(hpet.as_deref(), Some("device 10:228"));
        let disk = named(libc::S_IFBLK, (1, 5));
        assert_eq!(disk.as_deref(), Some("device 1:5"));
        let xens = named(libc::S_IFCHR, (MISC, 62));
        assert_eq!(xens.as_deref(), Some("privcmd"));
    }

    #[test]
    fn what_is_mapped_is_found_where_it_is_mapped_more_than_once() {
        let vantage = Vantage::new().expect("run the tests as root");
        let program = std::env::current_exe().unwrap();
        let disk = program.parent().unwrap();
        for folder in [disk, std::path::Path::new("/dev/shm")] {
            let folder = tempfile::tempdir_in(folder).unwrap();
            let paths = ["one", "two"].map(|name| folder.path().join(name));
            for path in &paths {
                std::fs::write(path, [7; 4096]).unwrap();
            }
            let held = [0, 1, 0, 1].map(|at| Private::map(&paths[at]));
            let dir = ProcDir::of(std::process::id().cast_signed()).unwrap();
            // What other tests map and unmap meanwhile is in the way.
            let seen = std::iter::repeat_with(|| mapped(&dir, &dir, &vantage));
            let (_, files) = seen
                .take(1000)
                .find_map(Result::ok)
                .expect("it can be read");
            drop(held);
            for path in &paths {
                let own = sys::stat_at(path.to_str().unwrap()).unwrap();
                let found = files.iter().filter(|file| file.stat.is_same(&own));
                assert_eq!(found.count(), 1, "{path:?}");
            }
            let own = sys::stat_at("/proc/self/exe").unwrap();
            assert!(files.iter().any(|file| file.stat.is_same(&own)));
        }
    }

    /// A page of a file, for nobody else.
    struct Private(std::ptr::NonNull<std::ffi::c_void>);

    impl Private {
        fn map(path: &std::path::Path) -> Self {
            use nix::sys::mman::{MapFlags, ProtFlags, mmap};
            let file = std::fs::File::open(path).unwrap();
            let length = 4096.try_into().unwrap();
            let (read, private) = (ProtFlags::PROT_READ, MapFlags::MAP_PRIVATE);
            // SAFETY: a new mapping at an address of the kernel's choice.
            Self(unsafe { mmap(None, length, read, private, &file, 0) }.unwrap())
        }
    }

    impl Drop for Private {
        fn drop(&mut self) {
            // SAFETY: it is this object's, and nobody looks into it.
            unsafe { nix::sys::mman::munmap(self.0, 4096) }.unwrap();
        }
    }

    #[test]
    fn a_range_is_named_as_its_link_is() {
        let link = |range: &str| {
            let line = format!("{range} r-xp 00000000 fd:01 77 /a\n");
            map_files(line.as_bytes()).unwrap()[0].link()
        };
        assert_eq!(
            link("00400000-0040a000").as_deref(),
            Some("map_files/400000-40a000")
        );
        assert_eq!(link("7f00-"), None);
    }
}
