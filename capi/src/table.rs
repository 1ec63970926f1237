// SPDX-License-Identifier: MIT OR Apache-2.0
//! What handles of C stand for. A handle is a number, never an address: where it lies in
//! this table, and how often that place was used before. So one that was closed, or is no
//! handle at all, is told apart without looking at any memory.
//!
//! Nothing here waits: also not in a child that was forked while another thread was here.

use std::{
    cell::UnsafeCell,
    ops::Deref,
    ptr,
    sync::atomic::{AtomicPtr, AtomicU32, AtomicU64, Ordering},
};

/// Above these no address of a process is, so no address passes for a handle.
const TAG: u64 = 0x5852;
const TAG_SHIFT: u32 = 48;
const PLACE_BITS: u32 = 20;
const TURN_BITS: u32 = 28;
/// A place that was used so often is not used again.
const TURNS: u64 = 1 << TURN_BITS;
const CHUNK: usize = 1024;
const CHUNKS: usize = (1 << PLACE_BITS) / CHUNK;
const NONE: u32 = u32::MAX;

/// The number of a thing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Id(pub(crate) u64);

impl Id {
    fn new(place: u32, turn: u64) -> Self {
        Self(TAG << TAG_SHIFT | u64::from(place) << TURN_BITS | turn)
    }

    /// Place and turn, if it can be one.
    fn parts(self) -> Option<(usize, u64)> {
        let place = self.0 >> TURN_BITS & ((1 << PLACE_BITS) - 1);
        (self.0 >> TAG_SHIFT == TAG).then(|| {
            #[allow(clippy::cast_possible_truncation, reason = "PLACE_BITS")]
            let place = place as usize;
            (place, self.0 & (TURNS - 1))
        })
    }
}

/// Of a place: the turn, whether it can be used, and by how many calls it is.
#[derive(Clone, Copy)]
struct State(u64);

impl State {
    const OPEN: u64 = 1 << 31;
    const USERS: u64 = Self::OPEN - 1;

    fn empty(turn: u64) -> Self {
        Self(turn << 32)
    }

    fn turn(self) -> u64 {
        self.0 >> 32
    }

    fn is_open(self, turn: u64) -> bool {
        self.turn() == turn && self.0 & Self::OPEN != 0
    }

    fn users(self) -> u64 {
        self.0 & Self::USERS
    }
}

struct Place<T> {
    state: AtomicU64,
    /// In the list of free ones.
    next: AtomicU32,
    /// There while the state is open or has users. Only who made the last user go, or has
    /// the place from the list, changes it.
    thing: UnsafeCell<Option<T>>,
}

// SAFETY: a `T` is only shared, and given from one thread to another; see `thing`.
unsafe impl<T: Send + Sync> Sync for Place<T> {}

pub(crate) struct Table<T: 'static> {
    chunks: [AtomicPtr<Place<T>>; CHUNKS],
    /// Places that were ever used.
    used: AtomicU32,
    /// The first free place, and above it a count that changes with each change: a place
    /// that went and came back is not taken for one that stayed.
    free: AtomicU64,
}

/// There is no place left.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Full;

impl<T: Send + Sync> Table<T> {
    pub(crate) const fn new() -> Self {
        Self {
            chunks: [const { AtomicPtr::new(ptr::null_mut()) }; CHUNKS],
            used: AtomicU32::new(0),
            free: AtomicU64::new(NONE as u64),
        }
    }

    pub(crate) fn insert(&'static self, thing: T) -> Result<Id, (Full, T)> {
        let number = match self.pop() {
            Some(number) => number,
            None => match self.fresh() {
                Some(number) => number,
                None => return Err((Full, thing)),
            },
        };
        let place = self.make(number as usize);
        let turn = State(place.state.load(Ordering::Relaxed)).turn();
        // SAFETY: the place is off the list, so it is this call's alone until it is open.
        unsafe { *place.thing.get() = Some(thing) };
        let open = State::empty(turn).0 | State::OPEN;
        place.state.store(open, Ordering::Release);
        Ok(Id::new(number, turn))
    }

    /// The thing, for as long as it is held: closing it meanwhile only makes it unusable
    /// for others.
    #[inline]
    pub(crate) fn hold(&'static self, id: Id) -> Option<Held<T>> {
        let (number, place, turn) = self.find(id)?;
        let mut now = place.state.load(Ordering::Relaxed);
        loop {
            if !State(now).is_open(turn) || State(now).users() == State::USERS {
                return None;
            }
            let more = now + 1;
            let order = (Ordering::Acquire, Ordering::Relaxed);
            match place
                .state
                .compare_exchange_weak(now, more, order.0, order.1)
            {
                Ok(_) => break,
                Err(other) => now = other,
            }
        }
        Some(Held {
            table: self,
            place,
            number,
        })
    }

    /// Makes the handle unusable; returns the thing if no call uses it. Else the last of
    /// them drops it.
    pub(crate) fn close(&'static self, id: Id) -> Result<Option<T>, NotOpen> {
        let (number, place, turn) = self.find(id).ok_or(NotOpen)?;
        let shut = |now: u64| {
            let usable = State(now).is_open(turn) && State(now).users() < State::USERS;
            usable.then_some((now & !State::OPEN) + 1)
        };
        place
            .state
            .fetch_update(Ordering::Acquire, Ordering::Relaxed, shut)
            .map_err(|_| NotOpen)?;
        Ok(self.leave(place, number))
    }

    #[inline]
    fn find(&'static self, id: Id) -> Option<(u32, &'static Place<T>, u64)> {
        let (number, turn) = id.parts()?;
        let chunk = self.chunks[number / CHUNK].load(Ordering::Acquire);
        if chunk.is_null() {
            return None;
        }
        #[allow(clippy::cast_possible_truncation, reason = "PLACE_BITS")]
        let short = number as u32;
        // SAFETY: a chunk has CHUNK places and is never given back.
        let place = unsafe { &*chunk.wrapping_add(number % CHUNK) };
        Some((short, place, turn))
    }

    /// A user goes; the last one of a closed place takes the thing out.
    #[inline]
    fn leave(&'static self, place: &'static Place<T>, number: u32) -> Option<T> {
        let before = State(place.state.fetch_sub(1, Ordering::Release));
        if before.0 & State::OPEN != 0 || before.users() != 1 {
            return None;
        }
        Some(self.empty(place, number, before.turn()))
    }

    #[cold]
    fn empty(&'static self, place: &'static Place<T>, number: u32, turn: u64) -> T {
        // What other users did is seen before the thing is moved.
        place.state.load(Ordering::Acquire);
        // SAFETY: closed and without users: nobody else comes to it.
        let thing = unsafe { (*place.thing.get()).take() };
        place
            .state
            .store(State::empty(turn + 1).0, Ordering::Release);
        if turn + 1 < TURNS {
            self.push(place, number);
        }
        match thing {
            Some(thing) => thing,
            None => unreachable!("an open place has a thing"),
        }
    }

    fn fresh(&self) -> Option<u32> {
        let more = |used: u32| ((used as usize) < CHUNK * CHUNKS).then_some(used + 1);
        let order = (Ordering::Relaxed, Ordering::Relaxed);
        self.used.fetch_update(order.0, order.1, more).ok()
    }

    /// A place, in memory that is there from then on.
    fn make(&'static self, number: usize) -> &'static Place<T> {
        let slot = &self.chunks[number / CHUNK];
        let mut chunk = slot.load(Ordering::Acquire);
        if chunk.is_null() {
            let place = |_| Place {
                state: AtomicU64::new(0),
                next: AtomicU32::new(NONE),
                thing: UnsafeCell::new(None),
            };
            let places: Box<[Place<T>]> = (0..CHUNK).map(place).collect();
            let new = Box::into_raw(places).cast::<Place<T>>();
            let order = (Ordering::AcqRel, Ordering::Acquire);
            chunk = match slot.compare_exchange(ptr::null_mut(), new, order.0, order.1) {
                Ok(_) => new,
                Err(other) => {
                    // SAFETY: made above, and nobody else has seen it.
                    drop(unsafe { Box::from_raw(ptr::slice_from_raw_parts_mut(new, CHUNK)) });
                    other
                }
            };
        }
        // SAFETY: as in `find`.
        unsafe { &*chunk.wrapping_add(number % CHUNK) }
    }

    fn pop(&'static self) -> Option<u32> {
        let mut head = self.free.load(Ordering::Acquire);
        loop {
            let number = low(head);
            if number == NONE {
                return None;
            }
            let next = self.make(number as usize).next.load(Ordering::Relaxed);
            let new = changed(head, next);
            let order = (Ordering::AcqRel, Ordering::Acquire);
            match self.free.compare_exchange_weak(head, new, order.0, order.1) {
                Ok(_) => return Some(number),
                Err(other) => head = other,
            }
        }
    }

    fn push(&self, place: &Place<T>, number: u32) {
        let mut head = self.free.load(Ordering::Relaxed);
        loop {
            place.next.store(low(head), Ordering::Relaxed);
            let new = changed(head, number);
            let order = (Ordering::AcqRel, Ordering::Relaxed);
            match self.free.compare_exchange_weak(head, new, order.0, order.1) {
                Ok(_) => return,
                Err(other) => head = other,
            }
        }
    }
}

/// The place at the head of the list.
#[allow(clippy::cast_possible_truncation, reason = "the low half")]
fn low(head: u64) -> u32 {
    head as u32
}

fn changed(head: u64, number: u32) -> u64 {
    (head >> 32).wrapping_add(1) << 32 | u64::from(number)
}

/// No such handle, or not any more.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct NotOpen;

/// A thing in use.
pub(crate) struct Held<T: Send + Sync + 'static> {
    table: &'static Table<T>,
    place: &'static Place<T>,
    number: u32,
}

impl<T: Send + Sync> Deref for Held<T> {
    type Target = T;
    #[inline]
    fn deref(&self) -> &T {
        // SAFETY: it has a user, this one, so nobody changes it.
        match unsafe { &*self.place.thing.get() } {
            Some(thing) => thing,
            None => unreachable!("an open place has a thing"),
        }
    }
}

impl<T: Send + Sync> Drop for Held<T> {
    #[inline]
    fn drop(&mut self) {
        drop(self.table.leave(self.place, self.number));
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::HashSet, sync::atomic::AtomicUsize, thread};

    use super::*;

    #[test]
    fn what_is_closed_is_gone_and_its_number_does_not_come_back() {
        static TABLE: Table<usize> = Table::new();
        let mut seen = HashSet::new();
        for round in 0..100 {
            let id = TABLE.insert(round).unwrap();
            assert!(seen.insert(id.0), "{id:?}");
            assert_eq!(*TABLE.hold(id).unwrap(), round);
            assert_eq!(TABLE.close(id), Ok(Some(round)));
            assert!(TABLE.hold(id).is_none());
            assert_eq!(TABLE.close(id), Err(NotOpen));
        }
        // All of them were at one place.
        assert_eq!(TABLE.used.load(Ordering::Relaxed), 1);
    }

    #[test]
    fn what_is_in_use_is_dropped_by_its_last_user() {
        static TABLE: Table<std::sync::Arc<()>> = Table::new();
        let thing = std::sync::Arc::new(());
        let id = TABLE.insert(thing.clone()).unwrap();
        let (one, two) = (TABLE.hold(id).unwrap(), TABLE.hold(id).unwrap());
        assert_eq!(TABLE.close(id), Ok(None));
        assert!(TABLE.hold(id).is_none());
        drop(one);
        assert_eq!(std::sync::Arc::strong_count(&thing), 2);
        drop(two);
        assert_eq!(std::sync::Arc::strong_count(&thing), 1);
    }

    #[test]
    fn no_number_but_one_that_was_given_is_a_handle() {
        static TABLE: Table<u8> = Table::new();
        let id = TABLE.insert(1).unwrap();
        for bit in 0..64 {
            assert!(TABLE.hold(Id(id.0 ^ 1 << bit)).is_none(), "{bit}");
        }
        for other in [0, 1, u64::MAX, &raw const TABLE as u64] {
            assert!(TABLE.hold(Id(other)).is_none(), "{other:#x}");
        }
    }

    #[test]
    fn a_place_is_not_used_for_ever() {
        static TABLE: Table<u8> = Table::new();
        let id = TABLE.insert(1).unwrap();
        let place = TABLE.make(0);
        place
            .state
            .store(State::empty(TURNS - 1).0 | State::OPEN, Ordering::Relaxed);
        assert!(TABLE.hold(id).is_none());
        assert_eq!(TABLE.close(Id::new(0, TURNS - 1)), Ok(Some(1)));
        let next = TABLE.insert(2).unwrap();
        assert_eq!(next, Id::new(1, 0));
    }

    #[test]
    fn threads_do_not_meet_in_one_place() {
        static TABLE: Table<(usize, &AtomicUsize)> = Table::new();
        static ALIVE: AtomicUsize = AtomicUsize::new(0);
        let rounds = if cfg!(miri) { 50 } else { 5_000 };
        thread::scope(|scope| {
            for mine in 0..4 {
                scope.spawn(move || {
                    let mut open = Vec::new();
                    for round in 0..rounds {
                        let unique = mine * rounds + round;
                        open.push((TABLE.insert((unique, &ALIVE)).unwrap(), unique));
                        for (id, unique) in &open {
                            assert_eq!(TABLE.hold(*id).unwrap().0, *unique);
                        }
                        if round % 3 != 0 {
                            let (id, unique) = open.swap_remove(round % open.len());
                            assert_eq!(TABLE.close(id).unwrap().unwrap().0, unique);
                        }
                        if open.len() > 40 {
                            for (id, _) in open.drain(..) {
                                TABLE.close(id).unwrap().unwrap();
                            }
                        }
                    }
                });
            }
        });
    }

    #[test]
    fn one_of_many_closes() {
        static TABLE: Table<usize> = Table::new();
        let rounds = if cfg!(miri) { 20 } else { 2_000 };
        for round in 0..rounds {
            let id = TABLE.insert(round).unwrap();
            let closed = AtomicUsize::new(0);
            thread::scope(|scope| {
                for _ in 0..3 {
                    scope.spawn(|| {
                        if let Some(held) = TABLE.hold(id) {
                            assert_eq!(*held, round);
                        }
                        if TABLE.close(id).is_ok() {
                            closed.fetch_add(1, Ordering::Relaxed);
                        }
                    });
                }
            });
            assert_eq!(closed.into_inner(), 1);
        }
    }
}
