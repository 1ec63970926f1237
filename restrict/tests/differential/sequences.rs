// SPDX-License-Identifier: MIT OR Apache-2.0
//! Sequences: a few handles are opened, then things are done to them.

use proptest::{collection::vec, prelude::*, sample::select, strategy::Union};

use crate::step::{Action, DEVICES, PROCESSES, Step};

/// How often it is another process's turn, and how much it does then.
const TURNS: usize = 4;
const OPENS: usize = 2;
const STEPS: usize = 5;

/// Most sequences stay with one driver: two thirds of the handles that they name are there.
pub(crate) fn sequences(table: &[Step]) -> impl Strategy<Value = Vec<Step>> + use<> {
    let devices = DEVICES.map(Some).into_iter().chain([None]);
    Union::new(devices.map(|device| {
        let of_device = |step: &Step| device.is_none_or(|device| step.handle.device == device);
        script(&only(table, of_device)).boxed()
    }))
}

fn only(steps: &[Step], wanted: impl Fn(&Step) -> bool) -> Vec<Step> {
    steps.iter().copied().filter(wanted).collect()
}

fn script(steps: &[Step]) -> impl Strategy<Value = Vec<Step>> + use<> {
    let turn = (0..PROCESSES).map(|process| turn(&only(steps, |step| step.process == process)));
    vec(Union::new(turn), 1..=TURNS).prop_map(|turns| turns.concat())
}

/// Some steps of a process. What passes descriptors on, or restricts, is rare among all
/// steps, and what this is about.
fn turn(steps: &[Step]) -> BoxedStrategy<Vec<Step>> {
    let opens = |step: &Step| step.action == Action::Open;
    let passes = |step: &Step| matches!(step.action, Action::Duplicate | Action::Send(_));
    let restricts = |step: &Step| matches!(step.action, Action::Restrict(_));
    let step = prop_oneof![
        6 => select(steps.to_vec()),
        1 => select(only(steps, passes)),
        1 => select(only(steps, restricts)),
    ];
    (
        vec(select(only(steps, opens)), 0..=OPENS),
        vec(step, 1..=STEPS),
    )
        .prop_map(|(opens, steps)| [opens, steps].concat())
        .boxed()
}
