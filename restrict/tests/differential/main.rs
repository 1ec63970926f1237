// SPDX-License-Identifier: MIT OR Apache-2.0
//! The kernel against a model of it: what restricted and unrestricted handles answer, for
//! sequences of requests by several processes, errno by errno. `cargo lab test` runs it.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod bench;
mod kernel;
#[path = "../support/lab.rs"]
mod lab;
mod model;
mod places;
mod process;
mod rules;
mod sequences;
mod step;
mod worker;
mod world;

use std::{cell::RefCell, os::unix::net::UnixStream, sync::Arc, time::Instant};

use proptest::test_runner::{Config, RngAlgorithm, TestCaseError, TestError, TestRng, TestRunner};

use bench::Bench;
use process::Shared;
use step::{Action, Device, Handle, Step};
use world::World;

/// More on demand: `XEN_LAB_SEQUENCES`, with `XEN_LAB_SEED` for those of another run.
const SEQUENCES: u32 = 10_000;

/// The lab takes a machine for hung that says nothing for long.
const SIGN_OF_LIFE: u32 = 2_000;

fn shared(world: World) -> Shared {
    Shared {
        table: Arc::new(step::table()),
        world: Arc::new(world),
        mailbox: Arc::new(UnixStream::pair().unwrap()),
    }
}

#[test]
fn the_kernel_answers_as_the_model_says() {
    let shared = shared(World::look());
    let bench = RefCell::new(Bench::new(shared.clone()));
    let cases = lab::number("XEN_LAB_SEQUENCES").unwrap_or(SEQUENCES);
    let seed = lab::seed();
    lab::say(&format!("\n{cases} sequences, XEN_LAB_SEED={seed}"));

    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    let config = Config {
        cases,
        failure_persistence: None,
        ..Config::default()
    };
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &bytes);
    let mut runner = TestRunner::new_with_rng(config, rng);
    let start = Instant::now();
    let outcome = runner.run(&sequences::sequences(&shared.table), |sequence| {
        let mut bench = bench.borrow_mut();
        let result = bench.run(&sequence).map_err(TestCaseError::fail);
        if bench.sequences.is_multiple_of(SIGN_OF_LIFE) {
            let seconds = start.elapsed().as_secs_f64();
            lab::say(&format!(
                "{} sequences, {} steps, {} of them without a handle, in {seconds:.1} s",
                bench.sequences, bench.steps, bench.idle
            ));
        }
        result
    });
    match outcome {
        Ok(()) => {}
        Err(TestError::Fail(reason, _)) => panic!("{reason}of {:?}", shared.world),
        Err(error) => panic!("{error}"),
    }
}

/// What finds nothing wrong proves nothing, unless it would have found it.
#[test]
fn a_wrong_answer_is_found_and_told() {
    let mut world = World::look();
    world.version += 1;
    let mut bench = Bench::new(shared(world));
    let handle = Handle {
        device: Device::PrivCmd,
        slot: 0,
    };
    let steps = [Action::Open, Action::Hypercall, Action::Close].map(|action| Step {
        process: 1,
        handle,
        action,
    });
    let text = bench.run(&steps).unwrap_err();
    let lines: Vec<_> = text.lines().collect();
    assert_eq!(lines.len(), 3, "{text}");
    assert!(lines[0].starts_with("the model says Is(Ok("), "{text}");
    assert_eq!(lines[1].trim(), "process 1: privcmd.0 Open -> Ok(0)");
    assert!(
        lines[2].contains("process 1: privcmd.0 Hypercall -> Ok("),
        "{text}"
    );
}
