// SPDX-License-Identifier: MIT OR Apache-2.0
//! Where a thread is: its root and current directory, the mounts below the root, and its
//! network. Threads of one place share what was read of it.

use std::{collections::BTreeMap, rc::Rc};

use super::{
    procfs::{ProcDir, Unread},
    status::{self, Mount},
    sys::{self, Stat},
    vantage::{MOUNT, NET, Vantage},
};

/// A thread's place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) root: Stat,
    /// Its path, from the root of its mount namespace.
    pub(super) root_path: Vec<u8>,
    pub(super) current: Stat,
    pub(super) current_path: Vec<u8>,
    /// Those that can be reached from the root.
    pub(super) mounts: Rc<Vec<Mount>>,
    /// Whether there is nothing in the root; none where looking could take for ever.
    pub(super) empty: Option<bool>,
    /// None in the machine's own network.
    pub(super) network: Option<Rc<Network>>,
}

/// A network namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Network {
    pub(super) interfaces: Vec<String>,
    pub(super) loopback_up: bool,
}

/// The mounts below a root, and whether there is nothing in it.
type Below = (Rc<Vec<Mount>>, Option<bool>);

/// What was read at this look.
#[derive(Debug)]
pub(super) struct Places<'a> {
    vantage: &'a Vantage,
    mounts: BTreeMap<(u64, Stat), Below>,
    networks: BTreeMap<u64, Rc<Network>>,
}

impl<'a> Places<'a> {
    pub(super) fn new(vantage: &'a Vantage) -> Self {
        Self {
            vantage,
            mounts: BTreeMap::new(),
            networks: BTreeMap::new(),
        }
    }

    /// The place of a thread in these namespaces.
    pub(super) fn of(&mut self, dir: &ProcDir, namespaces: &[u64; 6]) -> Result<Place, Unread> {
        let root = dir.stat("root")?;
        let (mounts, empty) = self.below(dir, namespaces[MOUNT], root)?;
        Ok(Place {
            root,
            root_path: dir.link("root")?,
            current: dir.stat("cwd")?,
            current_path: dir.link("cwd")?,
            mounts,
            empty,
            network: self.network(dir, namespaces[NET])?,
        })
    }

    fn below(&mut self, dir: &ProcDir, namespace: u64, root: Stat) -> Result<Below, Unread> {
        if let Some(known) = self.mounts.get(&(namespace, root)) {
            return Ok(known.clone());
        }
        let text = dir.read("mountinfo")?;
        let mounts = status::mounts(&text).ok_or_else(|| Unread::nonsense("mountinfo"))?;
        let mut kinds = mounts.iter().chain(&self.vantage.mounts);
        let kind = kinds
            .find(|mount| mount.device == root.device)
            .map(|mount| &*mount.kind);
        let empty = match kind {
            Some(kind) if answers_at_once(kind) => Some(dir.names("root")?.is_empty()),
            _ => None,
        };
        let read = (Rc::new(mounts), empty);
        self.mounts.insert((namespace, root), read.clone());
        Ok(read)
    }

    fn network(&mut self, dir: &ProcDir, namespace: u64) -> Result<Option<Rc<Network>>, Unread> {
        if self.vantage.is_machines(NET, namespace) {
            return Ok(None);
        }
        if let Some(known) = self.networks.get(&namespace) {
            return Ok(Some(Rc::clone(known)));
        }
        let interfaces = status::interfaces(&dir.read("net/dev")?);
        let file = dir.open("ns/net")?;
        let loopback_up = sys::loopback_is_up(&file)
            .map_err(|error| Unread::Failed("its loopback interface".into(), error))?;
        let network = Rc::new(Network {
            interfaces,
            loopback_up,
        });
        self.networks.insert(namespace, Rc::clone(&network));
        Ok(Some(network))
    }
}

/// File systems without a server that may be stuck.
fn answers_at_once(kind: &str) -> bool {
    const LOCAL: [&str; 10] = [
        "tmpfs", "ramfs", "rootfs", "ext2", "ext3", "ext4", "xfs", "btrfs", "squashfs", "erofs",
    ];
    LOCAL.contains(&kind)
}
