// SPDX-License-Identifier: MIT OR Apache-2.0
//! Who binds a socket to a path at which his supervisor has bound one gets that.

use std::{
    fs, io,
    os::unix::net::{UnixListener, UnixStream},
};

use super::*;

#[test]
fn a_bound_socket_is_given_and_not_removed_until_sealed() {
    let directory = tempfile::tempdir().unwrap();
    let [path, other] = ["bound", "other"].map(|name| directory.path().join(name));
    let bound = UnixListener::bind(&path).unwrap();
    fs::write(&other, "").unwrap();
    let listeners = qemu::Listeners::new(vec![(path.clone(), bound.into())]);
    let paths = [path.clone(), other.clone()];
    let guest = GuestId::new(7).ok();
    let (mut notifier, go, thread) = of_qemu_with(guest, listeners, move |wait| {
        let errno = |error: io::Error| error.raw_os_error();
        let listen = || {
            paths.each_ref().map(|path| {
                fs::remove_file(path).map_err(errno)?;
                UnixListener::bind(path).map_err(errno)
            })
        };
        let before = listen();
        wait.recv().unwrap();
        (before, listen().map(|result| result.map(drop)))
    });
    assert_eq!(serve(&mut notifier, 4), []);
    notifier.seal();
    go.send(()).unwrap();
    assert_eq!(serve(&mut notifier, 2).len(), 2);
    let (before, after) = thread.join().unwrap();
    let [bound, own] = before.map(Result::unwrap);
    assert_eq!(bound.local_addr().unwrap().as_pathname(), Some(&*path));
    assert_eq!(own.local_addr().unwrap().as_pathname(), Some(&*other));
    assert_eq!(after, [Err(Some(libc::EPERM)); 2]);
    // It is there as it was.
    let _client = UnixStream::connect(&path).unwrap();
    bound.accept().unwrap();
}
