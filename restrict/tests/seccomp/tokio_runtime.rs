// SPDX-License-Identifier: MIT OR Apache-2.0
//! An async runtime, with all that a device model would use of it.

use std::time::Duration;

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{UnixListener, UnixStream},
    process::Command,
    runtime::Builder,
    signal::unix::{SignalKind, signal},
    task::spawn_blocking,
    time::{sleep, timeout},
};
use xen_restrict::confine::seccomp;

use crate::alone::alone;

#[test]
fn a_runtime_started_under_the_filter() {
    alone(|| {
        seccomp::enforce().unwrap();
        Builder::new_multi_thread()
            .enable_all()
            .build()
            .unwrap()
            .block_on(work());
        Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap()
            .block_on(work());
    });
}

#[test]
fn a_runtime_that_was_there_before() {
    alone(|| {
        let runtime = Builder::new_multi_thread().enable_all().build().unwrap();
        runtime.block_on(work());
        seccomp::enforce().unwrap();
        runtime.block_on(work());
    });
}

async fn work() {
    timeout(Duration::from_secs(20), all()).await.unwrap();
}

async fn all() {
    let dir = tempfile::tempdir().unwrap();
    // It listens; to connect is what a filter of paths cannot allow.
    let _listener = UnixListener::bind(dir.path().join("socket")).unwrap();
    let (mut client, mut stream) = UnixStream::pair().unwrap();
    let server = tokio::spawn(async move {
        let mut text = String::new();
        stream.read_to_string(&mut text).await.unwrap();
        text
    });
    client.write_all(b"hello").await.unwrap();
    drop(client);
    assert_eq!(server.await.unwrap(), "hello");

    let file = dir.path().join("file");
    tokio::fs::write(&file, "text").await.unwrap();
    assert_eq!(tokio::fs::read(&file).await.unwrap(), b"text");
    assert_eq!(spawn_blocking(|| 7).await.unwrap(), 7);
    sleep(Duration::from_millis(2)).await;

    let output = Command::new("echo").arg("child").output().await.unwrap();
    assert_eq!(output.stdout, b"child\n");
    let mut child = Command::new("sleep").arg("60").spawn().unwrap();
    child.kill().await.unwrap();

    let mut signals = signal(SignalKind::user_defined1()).unwrap();
    nix::sys::signal::raise(nix::sys::signal::Signal::SIGUSR1).unwrap();
    signals.recv().await.unwrap();
}
