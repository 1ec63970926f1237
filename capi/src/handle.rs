// SPDX-License-Identifier: MIT OR Apache-2.0
//! Handles of C: of which kind, made by which process, and what they stand for.

use std::{
    any::type_name,
    mem::ManuallyDrop,
    ops::Deref,
    ptr::{self, NonNull},
    sync::{
        Once,
        atomic::{AtomicU32, Ordering},
    },
};

use libc::{c_int, c_void};

use crate::{
    evtchn::{Events, Port},
    failure::{Failure, Outcome},
    grants::{Allocator, Grants},
    guard::guard,
    guest::Guest,
    ioreq::Server,
    launch::Program,
    memory::Memory,
    privcmd::PrivCmd,
    requests::{Buffered, Requests},
    table::{self, Full, Id, NotOpen, Table},
};

static TABLE: Table<Entry> = Table::new();

pub(crate) struct Entry {
    /// There until it is dropped.
    thing: ManuallyDrop<Thing>,
    /// The process that made it.
    epoch: u32,
}

impl Entry {
    fn new(thing: Thing) -> Self {
        Self {
            thing: ManuallyDrop::new(thing),
            epoch: epoch(),
        }
    }

    /// In a forked child, to undo it would undo the parent's.
    fn is_anothers(&self) -> bool {
        self.epoch != epoch() && !self.thing.is_inherited()
    }

    fn finish(self) -> Outcome<()> {
        let mut entry = ManuallyDrop::new(self);
        if entry.is_anothers() {
            return Ok(());
        }
        // SAFETY: once, as the entry is not dropped after it.
        unsafe { ManuallyDrop::take(&mut entry.thing) }.finish()
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        if !self.is_anothers() {
            // SAFETY: once, here; `finish` does not come here.
            unsafe { ManuallyDrop::drop(&mut self.thing) }
        }
    }
}

/// Each kind of thing, and the opaque type that stands for it in C. What is `inherited` can
/// be used in a forked child.
macro_rules! kinds {
    ($($opaque:ident = $kind:ident($thing:ty), $inherited:literal;)*) => {
        enum Thing {
            $($kind($thing),)*
        }

        impl Thing {
            fn is_inherited(&self) -> bool {
                match self {
                    $(Self::$kind(_) => $inherited,)*
                }
            }

            fn finish(self) -> Outcome<()> {
                match self {
                    $(Self::$kind(thing) => thing.finish(),)*
                }
            }
        }

        $(
            impl Kind for crate::$opaque {
                type Thing = $thing;

                #[inline]
                fn of(entry: &Entry) -> Option<&$thing> {
                    match &*entry.thing {
                        Thing::$kind(thing) => Some(thing),
                        _ => None,
                    }
                }

                fn into_entry(thing: $thing) -> Entry {
                    Entry::new(Thing::$kind(thing))
                }
            }
        )*
    };
}

kinds! {
    xr_privcmd = PrivCmd(PrivCmd), true;
    xr_guest = Guest(Guest), true;
    xr_evtchn = Events(Events), true;
    xr_port = Port(Port), false;
    xr_gntdev = Grants(Grants), true;
    xr_gntalloc = Allocator(Allocator), true;
    xr_memory = Memory(Memory), false;
    xr_ioreq_server = Server(Server), false;
    xr_requests = Requests(Requests), false;
    xr_buffered = Buffered(Buffered), false;
    xr_program = Program(Program), false;
}

/// What is done at the end, where that can fail.
pub(crate) trait Finish: Sized {
    fn finish(self) -> Outcome<()> {
        Ok(())
    }
}

/// An opaque type of C.
pub(crate) trait Kind: Sized {
    type Thing: 'static;

    fn of(entry: &Entry) -> Option<&Self::Thing>;
    fn into_entry(thing: Self::Thing) -> Entry;
}

/// Counts forks: a mapping, port or server is its process's alone.
static EPOCH: AtomicU32 = AtomicU32::new(0);

fn epoch() -> u32 {
    EPOCH.load(Ordering::Relaxed)
}

extern "C" fn in_the_child() {
    EPOCH.fetch_add(1, Ordering::Relaxed);
}

fn watch_forks() -> Outcome<()> {
    static WATCHED: Once = Once::new();
    static RESULT: AtomicU32 = AtomicU32::new(0);
    WATCHED.call_once(|| {
        // SAFETY: the function does one atomic addition.
        let result = unsafe { libc::pthread_atfork(None, None, Some(in_the_child)) };
        RESULT.store(result.unsigned_abs(), Ordering::Relaxed);
    });
    match RESULT.load(Ordering::Relaxed) {
        0 => Ok(()),
        _ => Err(Failure::new(libc::ENOMEM, "there is no memory")),
    }
}

/// Makes a handle of a thing.
pub(crate) fn give<K: Kind>(thing: K::Thing) -> Outcome<*mut K> {
    watch_forks()?;
    match TABLE.insert(K::into_entry(thing)) {
        Ok(Id(number)) => {
            #[allow(clippy::cast_possible_truncation, reason = "64-bit machines only")]
            let address = number as usize;
            Ok(ptr::without_provenance_mut(address))
        }
        Err((Full, _)) => Err(Failure::new(libc::EMFILE, "there are too many handles")),
    }
}

/// A thing in use by a call: closed meanwhile, it stays until the call ends.
pub(crate) struct Held<K: Kind> {
    /// Part of the entry.
    thing: NonNull<K::Thing>,
    _entry: table::Held<Entry>,
}

impl<K: Kind> Deref for Held<K> {
    type Target = K::Thing;

    #[inline]
    fn deref(&self) -> &K::Thing {
        // SAFETY: the entry stays where it is, and unchanged, while it is held.
        unsafe { self.thing.as_ref() }
    }
}

/// What a handle stands for.
#[inline]
pub(crate) fn hold<K: Kind>(handle: *const K) -> Outcome<Held<K>> {
    let Some(entry) = TABLE.hold(Id(handle.addr() as u64)) else {
        return Err(no_handle(handle.cast()));
    };
    let Some(thing) = K::of(&entry).map(NonNull::from) else {
        return Err(wrong_kind::<K>());
    };
    if entry.is_anothers() {
        return Err(anothers());
    }
    Ok(Held {
        thing,
        _entry: entry,
    })
}

#[cold]
fn no_handle(handle: *const c_void) -> Failure {
    match handle.is_null() {
        true => Failure::argument("the handle is NULL"),
        false => Failure::new(
            libc::EBADF,
            "this is no handle, or one that was closed before",
        ),
    }
}

#[cold]
fn wrong_kind<K>() -> Failure {
    let name = type_name::<K>().rsplit("::").next().unwrap_or_default();
    Failure::new(libc::EBADF, format!("the handle is no {name}"))
}

#[cold]
fn anothers() -> Failure {
    Failure::new(
        libc::ECHILD,
        "the process that forked this one has it: make one of this process's own",
    )
}

/// Closes a handle of any kind and frees what it stands for. NULL is no error.
///
/// Calls that use it in other threads go on to their end; a later call with the handle is
/// refused, also when the handle has been closed twice. What was made of a handle (memory,
/// ports, servers of a device) stays usable until it is closed itself, and keeps the device
/// open.
///
/// Returns 0, also where the rest is done by a call that still uses it.
/// Errors: EBADF: no handle, or closed before. From an ioreq server, and a port: Xen did not
/// destroy or unbind it; the handle is closed all the same.
/// Threads: any.
/// Fork: usable. In a child, what belongs to the parent (ports, memory, servers, requests,
/// programs) is forgotten, and stays the parent's.
#[unsafe(no_mangle)]
pub extern "C" fn xr_close(handle: *mut c_void) -> c_int {
    if handle.is_null() {
        return 0;
    }
    guard(|| {
        let closed = TABLE.close(Id(handle.addr() as u64));
        match closed.map_err(|NotOpen| no_handle(handle))? {
            Some(entry) => entry.finish().map(|()| 0),
            None => Ok(0),
        }
    })
}
