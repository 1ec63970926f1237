// SPDX-License-Identifier: MIT OR Apache-2.0
//! What filters answer to many requests of one call.

use std::cell::OnceCell;

use super::program::{Answer, Call, LOAD, Machine, Program, begin, most_lenient};

/// The most lenient of what the filters can answer: each has to let a call through.
pub(super) fn answer(programs: &[Program], call: Call) -> Answer {
    Requests::of(programs, call).answer(call.request)
}

/// Filters, each on the way that it takes for all requests of a call alike: most of it.
pub(super) struct Requests<'p> {
    begun: Vec<(&'p Program, Machine)>,
    call: Call,
    /// What a request is compared with from there on, in order, if nothing else is done with it.
    compared: Option<Vec<u32>>,
    /// The answer to all requests that are none of these: no comparison tells them apart.
    others: OnceCell<Answer>,
}

impl<'p> Requests<'p> {
    pub(super) fn of(programs: &'p [Program], call: Call) -> Self {
        let begun = programs
            .iter()
            .map(|program| (program, begin(program, call)));
        let begun: Vec<_> = begun.collect();
        let compared = begun
            .iter()
            .map(|(program, machine)| compared(program, machine.at));
        let compared: Option<Vec<_>> = compared.collect();
        Self {
            compared: compared.map(|numbers| {
                let mut numbers = numbers.concat();
                numbers.sort_unstable();
                numbers
            }),
            begun,
            call,
            others: OnceCell::new(),
        }
    }

    /// The same for one of them.
    pub(super) fn answer(&self, request: Option<u32>) -> Answer {
        match (request, &self.compared) {
            (Some(number), Some(compared)) if compared.binary_search(&number).is_err() => {
                *self.others.get_or_init(|| self.follow(request))
            }
            _ => self.follow(request),
        }
    }

    fn follow(&self, request: Option<u32>) -> Answer {
        let call = Call {
            request,
            ..self.call
        };
        let mut strictest = Answer::Allowed;
        for (program, machine) in &self.begun {
            strictest = strictest.min(most_lenient(program, *machine, call));
            if strictest == Answer::Refused {
                break;
            }
        }
        strictest
    }
}

/// The numbers that a word can be compared with from an instruction on, if nothing else is done
/// with any word there.
fn compared(program: &Program, from: usize) -> Option<Vec<u32>> {
    let mut numbers = Vec::new();
    let mut reached = vec![false; program.len()];
    let mut todo = vec![from];
    while let Some(at) = todo.pop() {
        // What leads out of the program does so for every word.
        let (Some(i), Some(reached)) = (program.get(at), reached.get_mut(at)) else {
            continue;
        };
        if std::mem::replace(reached, true) {
            continue;
        }
        let after = at + 1;
        let (code, jt, jf, k) = i.fields();
        match code {
            LOAD => todo.push(after),
            // ret #k
            0x06 => {}
            // ja
            0x05 => todo.push(after.checked_add(usize::try_from(k).ok()?)?),
            // jeq #k
            0x15 => {
                numbers.push(k);
                todo.extend([jt, jf].map(|offset| after + usize::from(offset)));
            }
            _ => return None,
        }
    }
    Some(numbers)
}

#[cfg(test)]
mod tests {
    use super::{
        super::program::{Instruction, REQUEST},
        *,
    };

    #[test]
    fn requests_that_are_told_apart_have_answers_of_their_own() {
        let call = Call {
            number: 16,
            arch: 7,
            request: None,
        };
        let differs = |instructions: &[Instruction]| {
            let mut program = vec![Instruction::of(LOAD, 0, 0, REQUEST)];
            program.extend(instructions);
            program.extend([
                Instruction::of(0x06, 0, 0, libc::SECCOMP_RET_ERRNO),
                Instruction::of(0x06, 0, 0, libc::SECCOMP_RET_ALLOW),
            ]);
            let programs = [program];
            let requests = Requests::of(&programs, call);
            let answers = [0x4711, 0x4712, 0x4713].map(|request| requests.answer(Some(request)));
            answers != [answers[0]; 3]
        };
        // Equal to one, more than one, with one bit, computed.
        assert!(differs(&[Instruction::of(0x15, 0, 1, 0x4712)]));
        assert!(differs(&[Instruction::of(0x25, 0, 1, 0x4712)]));
        assert!(differs(&[Instruction::of(0x45, 0, 1, 2)]));
        assert!(differs(&[
            Instruction::of(0x04, 0, 0, 1),
            Instruction::of(0x15, 0, 1, 0x4713)
        ]));
        assert!(differs(&[
            Instruction::of(0x07, 0, 0, 0),
            Instruction::of(0x00, 0, 0, 0x4712),
            Instruction::of(0x1d, 0, 1, 0)
        ]));
        assert!(!differs(&[Instruction::of(0x15, 0, 1, 0x4714)]));
    }
}
