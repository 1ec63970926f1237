// SPDX-License-Identifier: MIT OR Apache-2.0
//! Who connects to xenstored is connected to his supervisor.

use std::{
    io::{Read as _, Write as _},
    os::unix::net::{UnixListener, UnixStream},
};

use super::*;

#[test]
fn only_to_the_supervisor_and_only_until_sealed() {
    const XENSTORED: &str = "/var/run/xenstored/socket";
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("socket");
    let listener = UnixListener::bind(&path).unwrap();
    listener.set_nonblocking(true).unwrap();
    let guest = GuestId::new(7).unwrap();
    let (mut notifier, go, thread) = of_qemu(Some(guest), move |wait| {
        let errno = |connected: io::Result<UnixStream>| connected.unwrap_err().raw_os_error();
        // Whether there is one.
        let mut connection = UnixStream::connect(XENSTORED).unwrap();
        connection.write_all(b"a question").unwrap();
        let other = errno(UnixStream::connect(path));
        wait.recv().unwrap();
        let later = errno(UnixStream::connect(XENSTORED));
        let mut answer = String::new();
        connection.read_to_string(&mut answer).unwrap();
        (answer, [other, later])
    });
    assert_eq!(serve(&mut notifier, 2).len(), 1);
    let mut ours = notifier.take_connection().unwrap();
    assert!(notifier.take_connection().is_none());
    let mut question = [0; 10];
    ours.read_exact(&mut question).unwrap();
    assert_eq!(&question, b"a question");
    ours.write_all(b"an answer").unwrap();
    notifier.seal();
    go.send(()).unwrap();
    assert_eq!(serve(&mut notifier, 1).len(), 1);
    assert!(notifier.take_connection().is_none());
    drop(ours);
    let (answer, errnos) = thread.join().unwrap();
    assert_eq!(answer, "an answer");
    assert_eq!(errnos, [Some(libc::EACCES), Some(libc::EPERM)]);
    listener.accept().unwrap_err();
}
