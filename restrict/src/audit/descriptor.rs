// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a descriptor of another process is.
//!
//! Told by /proc, without a duplicate: to close one can take as long as a file system's
//! server likes, and to be the last to close one can have an effect. Xen's devices and
//! sockets are duplicated, for a moment, to ask them.

use std::os::{
    fd::{AsFd, BorrowedFd, OwnedFd},
    linux::net::SocketAddrExt as _,
    unix::{
        ffi::OsStrExt as _,
        net::{SocketAddr, UnixStream},
    },
};

use nix::errno::Errno;

use super::{
    probe::{self, Candidates, Probed},
    procfs::{ProcDir, Unread},
    sys::{self, Credentials, Stat},
    vantage::Vantage,
};

/// The major number of misc devices (Linux's `linux/major.h`).
pub(super) const MISC: u32 = 10;

/// A descriptor as it was at the look.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Descriptor {
    pub(super) number: i32,
    /// What /proc calls it.
    pub(super) link: Vec<u8>,
    pub(super) kind: Kind,
    /// Which file it is.
    pub(super) stat: Stat,
    /// Whether it can be written to by it.
    pub(super) writes: bool,
}

/// What a file can be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// A way to Xen.
    Xen {
        device: String,
        probed: Probed,
    },
    Directory,
    BlockDevice,
    CharacterDevice {
        major: u32,
        minor: u32,
    },
    /// A file or fifo of a file system, by its mount.
    File {
        mount: Option<u64>,
    },
    MemoryFile,
    Pipe,
    Socket(Option<Socket>),
    /// By the name that the kernel gives it, as in `eventfd`.
    Anonymous(String),
    /// An io_uring, and how many files are registered with it, if that is told.
    Ring {
        files: Option<u32>,
    },
    Namespace,
    /// A process's descriptor.
    Process,
    Other,
}

/// A socket, and where it leads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Socket {
    pub(super) family: libc::c_int,
    pub(super) listening: bool,
    /// Its network namespace; what could not be asked is none of the known ones.
    pub(super) network: Option<u64>,
    /// Of a Unix socket: what it is bound to, or the one that accepted it.
    pub(super) name: Option<Vec<u8>>,
    /// Whether it is a Unix socket that is connected.
    pub(super) connected: bool,
    /// Who it is connected to: who listened, or connected, or made the pair. Of one of
    /// datagrams nobody knows.
    pub(super) peer: Option<i32>,
    /// Descriptors that wait in it to be received.
    pub(super) in_flight: bool,
}

/// Reads what descriptors are.
#[derive(Debug)]
pub(super) struct Reader<'a> {
    pub(super) vantage: &'a Vantage,
    pub(super) candidates: &'a mut Candidates,
}

impl Reader<'_> {
    /// One descriptor of `thread`. `pidfd` is of the process or thread whose table that
    /// is, if the kernel has such a thing.
    pub(super) fn read(
        &mut self,
        thread: &ProcDir,
        pidfd: Option<BorrowedFd<'_>>,
        number: i32,
    ) -> Result<Descriptor, Unread> {
        let path = format!("fd/{number}");
        let link = thread.link(&path)?;
        let stat = thread.stat(&path)?;
        let duplicate = || duplicate(pidfd, number, &stat);
        let kind = match stat.kind() {
            libc::S_IFDIR => Kind::Directory,
            libc::S_IFBLK => Kind::BlockDevice,
            libc::S_IFCHR => self.character_device(&stat, duplicate)?,
            libc::S_IFSOCK => match duplicate()? {
                Some(socket) => self.socket(thread, number, socket)?,
                None => Kind::Socket(None),
            },
            libc::S_IFREG if Some(stat.device) == self.vantage.xenfs => {
                self.file_of_xenfs(duplicate()?)
            }
            libc::S_IFIFO if stat.device == self.vantage.pipes => Kind::Pipe,
            libc::S_IFREG if stat.device == self.vantage.memory_files => Kind::MemoryFile,
            _ if stat.device == self.vantage.anonymous => match name_of(&link) {
                ring if ring == "io_uring" => Kind::Ring {
                    files: registered(thread, number)?,
                },
                name => Kind::Anonymous(name),
            },
            _ if stat.device == self.vantage.namespace_files => Kind::Namespace,
            _ if stat.device == self.vantage.process_files => Kind::Process,
            libc::S_IFREG | libc::S_IFIFO => Kind::File { mount: stat.mount },
            _ => Kind::Other,
        };
        Ok(Descriptor {
            number,
            link,
            kind,
            stat,
            writes: thread.writes(&path)?,
        })
    }

    fn character_device(
        &mut self,
        stat: &Stat,
        duplicate: impl Fn() -> Result<Option<OwnedFd>, Unread>,
    ) -> Result<Kind, Unread> {
        let (major, minor) = stat.special;
        let Some(name) = self.vantage.xen.get(&minor).filter(|_| major == MISC) else {
            return Ok(Kind::CharacterDevice { major, minor });
        };
        let duplicate = duplicate()?;
        let probed = match (name.as_str(), &duplicate) {
            ("privcmd", Some(fd)) => probe::privcmd(fd.as_fd(), self.candidates),
            ("evtchn", Some(fd)) => probe::evtchn(fd.as_fd(), self.candidates),
            ("privcmd" | "evtchn", None) => probe::unknown(Errno::ENOSYS),
            _ => probe::unrestrictable(),
        };
        Ok(Kind::Xen {
            device: name.clone(),
            probed,
        })
    }

    fn file_of_xenfs(&mut self, duplicate: Option<OwnedFd>) -> Kind {
        let asked = duplicate.map(|fd| probe::privcmd(fd.as_fd(), self.candidates));
        match asked {
            // /proc/xen/privcmd is the same driver.
            Some(probed) if probed.error.is_none() => Kind::Xen {
                device: "privcmd".into(),
                probed,
            },
            _ => Kind::Xen {
                device: "xenfs".into(),
                probed: probe::unrestrictable(),
            },
        }
    }

    fn socket(&self, thread: &ProcDir, number: i32, socket: OwnedFd) -> Result<Kind, Unread> {
        let option = |option| sys::socket_option::<libc::c_int>(socket.as_fd(), option);
        let (Ok(family), listening) = (option(libc::SO_DOMAIN), option(libc::SO_ACCEPTCONN)) else {
            return Ok(Kind::Socket(None));
        };
        let network = sys::network_of(socket.as_fd()).ok();
        let network = network
            .and_then(|fd| sys::stat(fd.as_fd(), c"").ok())
            .map(|stat| stat.inode);
        let peer = sys::socket_option::<Credentials>(socket.as_fd(), libc::SO_PEERCRED);
        let unix = family == libc::AF_UNIX;
        let peer = peer
            .ok()
            .map(|peer| peer.pid)
            .filter(|pid| unix && *pid > 0);
        let listening = listening != Ok(0);
        let socket = UnixStream::from(socket);
        if unix && !listening && is_xenstored(&socket, peer) {
            return Ok(Kind::Xen {
                device: "xenstored".into(),
                probed: probe::unrestrictable(),
            });
        }
        let name = socket.local_addr().ok().filter(|_| unix);
        let info = thread.read(&format!("fdinfo/{number}"))?;
        let in_flight = unix && waiting(&info);
        Ok(Kind::Socket(Some(Socket {
            family,
            listening,
            network,
            name: name.as_ref().and_then(name_of_address),
            connected: unix && socket.peer_addr().is_ok(),
            peer,
            in_flight,
        })))
    }
}

/// A duplicate, if there can be one, of the file that was seen.
fn duplicate(
    pidfd: Option<BorrowedFd<'_>>,
    number: i32,
    seen: &Stat,
) -> Result<Option<OwnedFd>, Unread> {
    let Some(pidfd) = pidfd else { return Ok(None) };
    let duplicate = match sys::pidfd_getfd(pidfd, number) {
        Err(Errno::EBADF | Errno::ESRCH) => return Err(Unread::Gone),
        Err(Errno::EPERM) => return Err(Unread::Denied(format!("descriptor {number}"))),
        Err(other) => return Err(Unread::Failed(format!("descriptor {number}"), other.into())),
        Ok(duplicate) => duplicate,
    };
    match sys::stat(duplicate.as_fd(), c"") {
        // All but the mode and owner, which may change.
        Ok(stat)
            if (stat.device, stat.inode, stat.special)
                == (seen.device, seen.inode, seen.special) =>
        {
            Ok(Some(duplicate))
        }
        _ => Err(Unread::Gone),
    }
}

/// By the path that the other end is bound to, or by who listens there.
fn is_xenstored(socket: &UnixStream, peer: Option<i32>) -> bool {
    let bound = socket.peer_addr().is_ok_and(|address| {
        let name = name_of_address(&address).unwrap_or_default();
        name.ends_with(b"xenstored/socket") || name.ends_with(b"xenstored/socket_ro")
    });
    let exe = peer
        .and_then(|pid| ProcDir::of(pid).ok()?.link("exe").ok())
        .unwrap_or_default();
    bound || exe.ends_with(b"/xenstored") || exe.ends_with(b"/oxenstored")
}

/// A path, or an abstract name after a NUL.
fn name_of_address(address: &SocketAddr) -> Option<Vec<u8>> {
    let path = address
        .as_pathname()
        .map(|path| path.as_os_str().as_bytes().to_vec());
    let name = address.as_abstract_name().map(|name| [&[0], name].concat());
    path.or(name)
}

/// Whether descriptors wait in a Unix socket: `scm_fds` (Linux 5.6). Without that line
/// nobody knows.
pub(super) fn waiting(fdinfo: &[u8]) -> bool {
    let text = String::from_utf8_lossy(fdinfo);
    text.lines()
        .find_map(|line| line.strip_prefix("scm_fds:"))
        .is_none_or(|n| n.trim() != "0")
}

/// Files that an io_uring holds, not listed in any descriptor table.
fn registered(thread: &ProcDir, number: i32) -> Result<Option<u32>, Unread> {
    let info = thread.read(&format!("fdinfo/{number}"))?;
    Ok(user_files(&info))
}

pub(super) fn user_files(fdinfo: &[u8]) -> Option<u32> {
    let text = String::from_utf8_lossy(fdinfo);
    let mut lines = text.lines();
    let count = lines.find_map(|line| line.strip_prefix("UserFiles:"))?;
    count.trim().parse().ok()
}

/// `anon_inode:[eventfd]` is an eventfd, `anon_inode:inotify` an inotify.
pub(super) fn name_of(link: &[u8]) -> String {
    let text = String::from_utf8_lossy(link);
    let name = text.strip_prefix("anon_inode:").unwrap_or(&text);
    name.trim_start_matches('[')
        .trim_end_matches(']')
        .to_owned()
}
