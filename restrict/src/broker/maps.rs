// SPDX-License-Identifier: MIT OR Apache-2.0
//! What is mapped, and how much of it there may be.

use nix::errno::Errno;

/// An index, and a notification's holder `B`.
#[derive(Debug)]
pub(super) struct Map<B> {
    pub(super) index: u64,
    pub(super) count: u32,
    /// Rung when the pages are unmapped.
    pub(super) bell: Option<B>,
    /// The process gave it back, and it waits for a slot.
    is_leaving: bool,
}

/// The indices of one guest, and what was given back and is still mapped: its pages
/// count until the kernel says that they are gone.
#[derive(Debug)]
pub(super) struct Maps<B> {
    /// By index. Has room for as many as there can be.
    maps: Vec<Map<B>>,
    /// References of the pages, in the order of the indices. Has room as well.
    grants: Vec<u32>,
    leaving: usize,
    used: u32,
    quota: u32,
}

impl<B> Maps<B> {
    pub(super) fn new(quota: u32) -> Self {
        Self {
            maps: Vec::with_capacity(quota as usize),
            grants: Vec::with_capacity(quota as usize),
            leaving: 0,
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
    pub(super) fn add(&mut self, index: u64, grants: &[u32]) {
        let count = u32::try_from(grants.len()).unwrap_or(u32::MAX);
        let at = self.maps.partition_point(|map| map.index < index);
        let first = self.first_grant(at);
        self.grants.extend_from_slice(grants);
        if let Some(behind) = self.grants.get_mut(first..) {
            behind.rotate_right(grants.len());
        }
        self.used += count;
        let map = Map {
            index,
            count,
            bell: None,
            is_leaving: false,
        };
        self.maps.insert(at, map);
    }

    /// An index that the process has.
    pub(super) fn find(&mut self, index: u64, count: u32) -> Result<&mut Map<B>, Errno> {
        let at = self.position(index, count)?;
        self.maps.get_mut(at).ok_or(Errno::ENOENT)
    }

    /// Which grant is the page `page` of an index that the process has.
    pub(super) fn grant(&self, index: u64, count: u32, page: usize) -> Result<u32, Errno> {
        let first = self.first_grant(self.position(index, count)?);
        let grant = self
            .grants
            .get(first + page)
            .filter(|_| page < count as usize);
        grant.copied().ok_or(Errno::EINVAL)
    }

    fn position(&self, index: u64, count: u32) -> Result<usize, Errno> {
        let at = self.maps.binary_search_by_key(&index, |map| map.index);
        let at = at.map_err(|_| Errno::ENOENT)?;
        let map = self
            .maps
            .get(at)
            .filter(|map| map.count == count && !map.is_leaving);
        map.map(|_| at).ok_or(Errno::ENOENT)
    }

    /// Of the map at `at`, in `grants`.
    fn first_grant(&self, at: usize) -> usize {
        self.maps
            .iter()
            .take(at)
            .map(|map| map.count as usize)
            .sum()
    }

    /// The process has it no more.
    pub(super) fn leave(&mut self, index: u64, count: u32) -> Result<(), Errno> {
        self.find(index, count)?.is_leaving = true;
        self.leaving += 1;
        Ok(())
    }

    /// One that leaves.
    pub(super) fn leaving(&self) -> Option<(u64, u32)> {
        if self.leaving == 0 {
            return None;
        }
        let map = self.maps.iter().find(|map| map.is_leaving)?;
        Some((map.index, map.count))
    }

    /// The index can be used again; the pages still count.
    pub(super) fn forget(&mut self, index: u64) -> Option<Map<B>> {
        let at = self
            .maps
            .binary_search_by_key(&index, |map| map.index)
            .ok()?;
        let first = self.first_grant(at);
        let map = self.maps.remove(at);
        self.grants.drain(first..first + map.count as usize);
        self.leaving -= usize::from(map.is_leaving);
        Some(map)
    }

    /// The pages are unmapped.
    pub(super) fn released(&mut self, count: u32) {
        self.used = self.used.saturating_sub(count);
    }

    /// Takes all bells.
    pub(super) fn bells(&mut self) -> impl Iterator<Item = B> {
        self.maps.iter_mut().filter_map(|map| map.bell.take())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_count_until_they_are_released() {
        let mut maps = Maps::<()>::new(8);
        assert_eq!(maps.room(9), Err(Errno::EDQUOT));
        assert_eq!(maps.room(u32::MAX), Err(Errno::EDQUOT));
        maps.add(4096, &[1; 3]);
        maps.add(0, &[2; 5]);
        assert_eq!(maps.room(1), Err(Errno::EDQUOT));
        maps.forget(0).unwrap();
        assert_eq!(maps.find(0, 5).unwrap_err(), Errno::ENOENT);
        assert_eq!(maps.room(1), Err(Errno::EDQUOT));
        maps.released(5);
        assert_eq!(maps.room(5), Ok(()));
        assert_eq!(maps.used(), 3);
    }

    #[test]
    fn an_index_is_found_with_its_own_count_only() {
        let mut maps = Maps::<()>::new(100);
        for index in [30, 10, 20] {
            maps.add(index, &[0; 2]);
        }
        assert_eq!(maps.find(20, 2).unwrap().index, 20);
        for (index, count) in [(20, 1), (20, 0), (21, 2), (u64::MAX, 2)] {
            assert_eq!(maps.find(index, count).unwrap_err(), Errno::ENOENT);
        }
    }

    #[test]
    fn each_page_has_its_own_grant() {
        let mut maps = Maps::<()>::new(100);
        maps.add(20, &[3, 4]);
        maps.add(10, &[1, 2]);
        maps.add(30, &[5]);
        let grants = |maps: &Maps<()>| {
            let all = [(10, 2, 0), (10, 2, 1), (20, 2, 0), (20, 2, 1), (30, 1, 0)];
            all.map(|(index, count, page)| maps.grant(index, count, page).unwrap_or(0))
        };
        assert_eq!(grants(&maps), [1, 2, 3, 4, 5]);
        assert_eq!(maps.grant(10, 2, 2), Err(Errno::EINVAL));
        maps.forget(20).unwrap();
        assert_eq!(grants(&maps), [1, 2, 0, 0, 5]);
        maps.add(20, &[8, 9]);
        assert_eq!(grants(&maps), [1, 2, 8, 9, 5]);
    }

    #[test]
    fn what_leaves_is_not_found_and_counts() {
        let mut maps = Maps::<()>::new(3);
        maps.add(10, &[1]);
        maps.add(20, &[2, 3]);
        maps.leave(20, 2).unwrap();
        assert_eq!(maps.leave(20, 2), Err(Errno::ENOENT));
        assert_eq!(maps.grant(20, 2, 0), Err(Errno::ENOENT));
        assert_eq!((maps.leaving(), maps.used()), (Some((20, 2)), 3));
        maps.forget(20).unwrap();
        assert_eq!(maps.leaving(), None);
    }
}
