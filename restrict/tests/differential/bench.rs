// SPDX-License-Identifier: MIT OR Apache-2.0
//! One sequence on the real devices, and in the model.

use std::{collections::HashMap, fmt::Write as _};

use nix::errno::Errno;

use crate::{
    kernel::Answer,
    model::{Expected, Model},
    process::{Order, Shared},
    step::{Action, PROCESSES, Step},
    worker::{Party, Worker, end_sequence},
};

/// The processes, and what they do for one sequence after the other.
pub(crate) struct Bench {
    shared: Shared,
    table: HashMap<Step, u32>,
    parties: Vec<Party>,
    pub(crate) sequences: u32,
    pub(crate) steps: usize,
    /// Steps that found no descriptor.
    pub(crate) idle: usize,
}

impl Bench {
    pub(crate) fn new(shared: Shared) -> Self {
        let table = shared.table.iter().copied().zip(0..).collect();
        let mut parties = vec![Party::ourselves(&shared)];
        parties.extend((1..PROCESSES).map(|_| Worker::start(&shared)));
        Self {
            shared,
            table,
            parties,
            sequences: 0,
            steps: 0,
            idle: 0,
        }
    }

    /// The sequence as orders, each with whom it is for and the step it is of.
    fn orders(&self, sequence: &[Step]) -> Vec<(u8, Order, Step)> {
        let orders = |&step: &Step| {
            let place = self.table[&step];
            let received = match step.action {
                Action::Send(to) => Some((to, Order::Receive(place), step)),
                _ => None,
            };
            [(step.process, Order::Step(place), step)]
                .into_iter()
                .chain(received)
        };
        sequence.iter().flat_map(orders).collect()
    }

    /// The sequence on the real devices and in the model.
    pub(crate) fn run(&mut self, sequence: &[Step]) -> Result<(), String> {
        let mut model = Model::new(self.shared.world.clone());
        let mut done = Vec::new();
        let orders = self.orders(sequence);
        let turns = orders.chunk_by(|one, other| one.0 == other.0);
        let result = turns.into_iter().try_for_each(|turn| {
            let told: Vec<_> = turn.iter().map(|&(_, order, _)| order).collect();
            let answers = self.parties[usize::from(turn[0].0)].obey(model.places, &told);
            self.steps += answers.len();
            self.idle += answers.iter().filter(|a| **a == Err(Errno::EBADF)).count();
            turn.iter()
                .zip(answers)
                .try_for_each(|(&(_, order, step), answer)| {
                    done.push((order, step, answer));
                    compare(&mut model, order, step, answer)
                })
        });
        self.sequences += 1;
        if result.is_err() {
            // What was sent may never have been received.
            while self.parties[0].obey(model.places, &[Order::Receive(0)])[0].is_ok() {}
        }
        end_sequence(&mut self.parties);
        result.map_err(|expected| {
            let mut text = format!("the model says {expected:?} to the last of\n");
            for (order, step, answer) in done {
                let half = if let Order::Receive(_) = order {
                    ", received"
                } else {
                    ""
                };
                let _ = writeln!(text, "    {step:?}{half} -> {answer:?}");
            }
            text
        })
    }
}

/// The model's answer, where the kernel's is another.
fn compare(model: &mut Model, order: Order, step: Step, answer: Answer) -> Result<(), Expected> {
    let expected = model.expect(step);
    let agreed = match expected {
        Expected::Is(expected) => expected == answer,
        Expected::APort => answer.is_ok_and(|port| port > 0 && !model.is_bound(port)),
    };
    if !agreed {
        return Err(expected);
    }
    // What is sent is the other's when that has received it.
    if !matches!((step.action, order), (Action::Send(_), Order::Step(_))) {
        model.learn(step, answer);
    }
    Ok(())
}
