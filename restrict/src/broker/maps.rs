// SPDX-License-Identifier: MIT OR Apache-2.0
//! What is mapped, and how much of it there may be.

use nix::errno::Errno;

/// Whom to tell when the pages of an index are unmapped.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Notice {
    /// Offset of the byte that is cleared.
    pub(super) byte: Option<u64>,
    /// The process's own port that sends.
    pub(super) port: Option<u32>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Map {
    pub(super) index: u64,
    pub(super) count: u32,
    pub(super) notice: Notice,
}

/// The indices of one guest, and what was given back and is still mapped: its pages
/// count until the kernel says that they are gone.
#[derive(Debug)]
pub(super) struct Maps {
    /// By index. Has room for as many as there can be.
    maps: Vec<Map>,
    used: u32,
    quota: u32,
}

impl Maps {
    pub(super) fn new(quota: u32) -> Self {
        Self {
            maps: Vec::with_capacity(quota as usize),
            used: 0,
            quota,
        }
    }

    pub(super) fn quota(&self) -> u32 {
        self.quota
    }

    #[cfg(test)]
    pub(super) fn used(&self) -> u32 {
        self.used
    }

    /// Whether so many more pages may be mapped.
    pub(super) fn room(&self, count: u32) -> Result<(), Errno> {
        match self.used.checked_add(count) {
            Some(used) if used <= self.quota => Ok(()),
            _ => Err(Errno::EDQUOT),
        }
    }

    /// The driver made it: an index that is not in use.
    pub(super) fn add(&mut self, index: u64, count: u32) {
        self.used += count;
        let at = self.maps.partition_point(|map| map.index < index);
        let notice = Notice::default();
        let map = Map {
            index,
            count,
            notice,
        };
        self.maps.insert(at, map);
    }

    pub(super) fn find(&mut self, index: u64, count: u32) -> Result<&mut Map, Errno> {
        let at = self.maps.binary_search_by_key(&index, |map| map.index);
        let map = at.ok().and_then(|at| self.maps.get_mut(at));
        map.filter(|map| map.count == count).ok_or(Errno::ENOENT)
    }

    /// The index can be used again; the pages still count.
    pub(super) fn forget(&mut self, index: u64) {
        self.maps.retain(|map| map.index != index);
    }

    /// The pages are unmapped.
    pub(super) fn released(&mut self, count: u32) {
        self.used = self.used.saturating_sub(count);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_count_until_they_are_released() {
        let mut maps = Maps::new(8);
        assert_eq!(maps.room(9), Err(Errno::EDQUOT));
        assert_eq!(maps.room(u32::MAX), Err(Errno::EDQUOT));
        maps.add(4096, 3);
        maps.add(0, 5);
        assert_eq!(maps.room(1), Err(Errno::EDQUOT));
        maps.forget(0);
        assert_eq!(maps.find(0, 5), Err(Errno::ENOENT));
        assert_eq!(maps.room(1), Err(Errno::EDQUOT));
        maps.released(5);
        assert_eq!(maps.room(5), Ok(()));
        assert_eq!(maps.used(), 3);
    }

    #[test]
    fn an_index_is_found_with_its_own_count_only() {
        let mut maps = Maps::new(100);
        for index in [30, 10, 20] {
            maps.add(index, 2);
        }
        assert_eq!(maps.find(20, 2).map(|map| map.index), Ok(20));
        for (index, count) in [(20, 1), (20, 0), (21, 2), (u64::MAX, 2)] {
            assert_eq!(maps.find(index, count).copied(), Err(Errno::ENOENT));
        }
    }
}
