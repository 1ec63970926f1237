// SPDX-License-Identifier: MIT OR Apache-2.0
//! Sequences: a few handles are opened, then things are done to them.

use proptest::{collection::vec, option, prelude::*, sample::select, strategy::Union};

use crate::step::{Action, DEVICES, PROCESSES, Step, Whom};

/// How often it is another process's turn, and how much it does then.
const TURNS: usize = 4;
const OPENS: usize = 2;
const STEPS: usize = 5;

/// Most sequences stay with one driver: so most of the handles that they name are there.
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

/// Some steps of a process: handles are opened, and often restricted at once; then
/// anything. What passes descriptors on, or restricts, is rare among all steps, and what
/// this is about.
fn turn(steps: &[Step]) -> BoxedStrategy<Vec<Step>> {
    let opens = select(only(steps, |step| step.action == Action::Open));
    let whom = option::weighted(0.6, prop_oneof![2 => Just(Whom::A), 1 => Just(Whom::B)]);
    let opened = (opens, whom).prop_map(|(open, whom)| {
        let restrict = whom.map(|whom| Step {
            action: Action::Restrict(whom),
            ..open
        });
        [open].into_iter().chain(restrict).collect::<Vec<_>>()
    });
    let passes = |step: &Step| matches!(step.action, Action::Duplicate | Action::Send(_));
    let restricts = |step: &Step| matches!(step.action, Action::Restrict(_));
    let step = prop_oneof![
        6 => select(steps.to_vec()),
        1 => select(only(steps, passes)),
        1 => select(only(steps, restricts)),
    ];
    (vec(opened, 0..=OPENS), vec(step, 1..=STEPS))
        .prop_map(|(opened, steps)| [opened.concat(), steps].concat())
        .boxed()
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeMap, sync::Arc};

    use nix::errno::Errno;
    use proptest::{
        strategy::ValueTree,
        test_runner::{Config, RngAlgorithm, TestRng, TestRunner},
    };

    use super::*;
    use crate::{
        model::{Expected, Model},
        step,
        world::World,
    };

    /// What no handle is ever answered with success.
    const NEVER: &[&str] = &[
        "Unknown",
        "TooMany",
        "MapNothing",
        "MapAgain",
        "BindImpossible",
        "StaticImpossible",
        "UnbindImpossible",
        "GrantNothing",
    ];

    /// By the model alone: sequences get to all that they are about.
    #[test]
    fn each_action_is_done_and_half_of_all_find_their_handle() {
        let table = step::table();
        let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &[1; 32]);
        let mut runner = TestRunner::new_with_rng(Config::default(), rng);
        let strategy = sequences(&table);
        let mut seen: BTreeMap<String, [bool; 2]> = BTreeMap::new();
        let (mut steps, mut without, mut refused) = (0, 0, 0);
        for _ in 0..2000 {
            let sequence = strategy.new_tree(&mut runner).unwrap().current();
            let mut model = Model::new(Arc::new(World::made_up()));
            for (step, port) in sequence.into_iter().zip(100..) {
                let answer = match model.expect(step) {
                    Expected::Is(answer) => answer,
                    Expected::APort => Ok(port),
                };
                model.learn(step, answer);
                steps += 1;
                without += u32::from(answer == Err(Errno::EBADF));
                refused += u32::from([Err(Errno::EPERM), Err(Errno::EACCES)].contains(&answer));
                let name = format!("{:?}", step.action);
                let name = name.split('(').next().unwrap().to_owned();
                seen.entry(name).or_default()[usize::from(answer.is_ok())] = true;
            }
        }
        for (name, [_, done]) in &seen {
            assert_ne!(*done, NEVER.contains(&name.as_str()), "{name}");
        }
        assert!(2 * without < steps, "{without} of {steps}");
        assert!(20 * refused > steps, "{refused} of {steps}");
    }
}
