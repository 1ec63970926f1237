// SPDX-License-Identifier: MIT OR Apache-2.0
//! Who binds a socket to a path at which his supervisor has bound one gets that.

use std::{
    fs, io,
    net::TcpListener,
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
    let address = "127.0.0.1:0";
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
        TcpListener::bind(address).unwrap();
        wait.recv().unwrap();
        let by_ip = TcpListener::bind(address).map(drop).map_err(errno);
        (before, listen().map(|result| result.map(drop)), by_ip)
    });
    assert_eq!(serve(&mut notifier, 6), []);
    notifier.seal();
    go.send(()).unwrap();
    assert_eq!(serve(&mut notifier, 3).len(), 3);
    let (before, after, by_ip) = thread.join().unwrap();
    let [bound, own] = before;
    let (bound, own) = (bound.unwrap(), own.unwrap());
    assert_eq!(bound.local_addr().unwrap().as_pathname(), Some(&*path));
    // Another one is removed, and made anew.
    assert_eq!(own.local_addr().unwrap().as_pathname(), Some(&*other));
    let refused = Err(Some(libc::EPERM));
    assert_eq!((after, by_ip), ([refused; 2], refused));
    // It is there as it was.
    let _client = UnixStream::connect(&path).unwrap();
    bound.accept().unwrap();
}
