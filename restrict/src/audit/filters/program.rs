// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a filter of another process can answer to a system call of which not everything
//! is known: each way it can take is followed.

use seccompiler::sock_filter;

/// An instruction, as the kernel has it (`struct sock_filter`).
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(in crate::audit) struct Instruction {
    code: u16,
    jt: u8,
    jf: u8,
    k: u32,
}

impl Instruction {
    pub(in crate::audit) const fn of(code: u16, jt: u8, jf: u8, k: u32) -> Self {
        Self { code, jt, jf, k }
    }

    pub(super) const fn fields(self) -> (u16, u8, u8, u32) {
        (self.code, self.jt, self.jf, self.k)
    }
}

/// A filter.
pub(in crate::audit) type Program = Vec<Instruction>;

/// One of this process's, as it is read of a thread that has it.
pub(in crate::audit) fn as_read(program: &[sock_filter]) -> Program {
    let instruction = |i: &sock_filter| Instruction::of(i.code, i.jt, i.jf, i.k);
    program.iter().map(instruction).collect()
}

/// A system call. An argument without a value can be anything.
#[derive(Clone, Copy, Debug)]
pub(super) struct Call {
    pub(super) number: u32,
    /// `AUDIT_ARCH_*` of Linux's `linux/audit.h`.
    pub(super) arch: u32,
    /// The second argument's low half, that of an ioctl's request. The drivers see no more.
    pub(super) request: Option<u32>,
}

/// What comes of it, the most lenient last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Answer {
    /// It is not executed.
    Refused,
    /// A supervisor or tracer decides.
    Asked,
    Allowed,
}

/// `ld [k]`.
pub(super) const LOAD: u16 = 0x20;
/// Where the request's low half is in the kernel's `seccomp_data`.
pub(super) const REQUEST: u32 = if cfg!(target_endian = "little") {
    24
} else {
    28
};

/// More steps than any filter takes that is made for a purpose.
const STEPS: usize = 100_000;

/// The registers on one way through; what is not known has no value.
#[derive(Clone, Copy)]
pub(super) struct Machine {
    pub(super) at: usize,
    a: Option<u32>,
    x: Option<u32>,
    memory: [Option<u32>; 16],
}

/// What becomes of one step.
enum Next {
    On,
    /// Or it goes on there.
    Or(usize),
    Done(Option<u32>),
}

impl Machine {
    const START: Self = Self {
        at: 0,
        a: Some(0),
        x: Some(0),
        memory: [Some(0); 16],
    };
}

/// As far as there is one way, and nothing is asked about the request.
pub(super) fn begin(program: &Program, call: Call) -> Machine {
    let mut machine = Machine::START;
    while let Some(instruction) = program.get(machine.at) {
        let mut next = machine;
        let asks = instruction.code == LOAD && instruction.k == REQUEST;
        match next.step(*instruction, call) {
            Some(Next::On) if !asks => machine = next,
            _ => break,
        }
    }
    machine
}

pub(super) fn most_lenient(program: &Program, mut machine: Machine, call: Call) -> Answer {
    // Not gone yet; most calls have none.
    let mut ways = Vec::new();
    let mut worst = Answer::Refused;
    for _ in 0..STEPS {
        let instruction = program.get(machine.at);
        let step = instruction.and_then(|instruction| machine.step(*instruction, call));
        match step {
            Some(Next::On) => {}
            Some(Next::Or(at)) => ways.push(Machine { at, ..machine }),
            Some(Next::Done(value)) => {
                worst = worst.max(meaning(value));
                match ways.pop() {
                    Some(way) if worst != Answer::Allowed => machine = way,
                    _ => return worst,
                }
            }
            // Not what the kernel would have loaded: so it is not understood.
            None => return Answer::Allowed,
        }
    }
    Answer::Allowed
}

pub(super) fn meaning(value: Option<u32>) -> Answer {
    match value.map(|value| value & libc::SECCOMP_RET_ACTION_FULL) {
        Some(
            libc::SECCOMP_RET_KILL_PROCESS
            | libc::SECCOMP_RET_KILL_THREAD
            | libc::SECCOMP_RET_TRAP
            | libc::SECCOMP_RET_ERRNO,
        ) => Answer::Refused,
        Some(libc::SECCOMP_RET_USER_NOTIF | libc::SECCOMP_RET_TRACE) => Answer::Asked,
        // Of what it does not know the kernel makes a kill; newer ones may not.
        _ => Answer::Allowed,
    }
}

impl Machine {
    /// Those that seccomp accepts (Linux's `seccomp_check_filter`).
    fn step(&mut self, i: Instruction, call: Call) -> Option<Next> {
        const SIZE: u32 = 64;
        self.at += 1;
        let k = Some(i.k);
        let cell = usize::try_from(i.k).ok()?;
        match i.code {
            // ld [k], ld #k, ld M[k], ld len
            LOAD => self.a = call.word(i.k),
            0x00 => self.a = k,
            0x60 => self.a = *self.memory.get(cell)?,
            0x80 => self.a = Some(SIZE),
            // ldx #k, ldx M[k], ldx len
            0x01 => self.x = k,
            0x61 => self.x = *self.memory.get(cell)?,
            0x81 => self.x = Some(SIZE),
            // st, stx
            0x02 => *self.memory.get_mut(cell)? = self.a,
            0x03 => *self.memory.get_mut(cell)? = self.x,
            // tax, txa, neg
            0x07 => self.x = self.a,
            0x87 => self.a = self.x,
            0x84 => self.a = self.a.map(u32::wrapping_neg),
            // ret #k, ret a
            0x06 => return Some(Next::Done(k)),
            0x16 => return Some(Next::Done(self.a)),
            // ja
            0x05 => self.at = self.at.checked_add(cell)?,
            code if code & 0x07 == 0x04 => {
                let operand = if code & 0x08 == 0 { k } else { self.x };
                self.a = arithmetic(code & 0xf0, self.a, operand)?;
            }
            code if code & 0x07 == 0x05 => {
                let operand = if code & 0x08 == 0 { k } else { self.x };
                return self.jump(i, self.a.zip(operand));
            }
            _ => return None,
        }
        Some(Next::On)
    }

    fn jump(&mut self, i: Instruction, operands: Option<(u32, u32)>) -> Option<Next> {
        let [jt, jf] = [i.jt, i.jf].map(|offset| self.at + usize::from(offset));
        let Some((a, b)) = operands else {
            self.at = jf;
            return Some(Next::Or(jt));
        };
        let taken = match i.code & 0xf0 {
            0x10 => a == b,
            0x20 => a > b,
            0x30 => a >= b,
            0x40 => a & b != 0,
            _ => return None,
        };
        self.at = if taken { jt } else { jf };
        Some(Next::On)
    }
}

/// `None` for what there is not; a value that is not known for what cannot be.
fn arithmetic(operation: u16, a: Option<u32>, b: Option<u32>) -> Option<Option<u32>> {
    let known = a.zip(b);
    Some(match operation {
        0x00 => known.map(|(a, b)| a.wrapping_add(b)),
        0x10 => known.map(|(a, b)| a.wrapping_sub(b)),
        0x20 => known.map(|(a, b)| a.wrapping_mul(b)),
        0x30 => known.and_then(|(a, b)| a.checked_div(b)),
        0x40 => known.map(|(a, b)| a | b),
        0x50 => known.map(|(a, b)| a & b),
        0x60 => known.and_then(|(a, b)| a.checked_shl(b)),
        0x70 => known.and_then(|(a, b)| a.checked_shr(b)),
        0xa0 => known.map(|(a, b)| a ^ b),
        _ => return None,
    })
}

impl Call {
    /// A word of the kernel's `seccomp_data`.
    fn word(&self, offset: u32) -> Option<u32> {
        match offset {
            0 => Some(self.number),
            4 => Some(self.arch),
            REQUEST => self.request,
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{super::requests::answer, *};

    const CALL: Call = Call {
        number: 16,
        arch: 7,
        request: Some(0x4711),
    };
    const EPERM: u32 = libc::SECCOMP_RET_ERRNO | 1;
    const ALLOW: u32 = libc::SECCOMP_RET_ALLOW;

    fn i(code: u16, jt: u8, jf: u8, k: u32) -> Instruction {
        Instruction { code, jt, jf, k }
    }

    #[test]
    fn what_is_known_decides() {
        let refuses = |offset, value| {
            let program = vec![
                i(0x20, 0, 0, offset),
                i(0x15, 0, 1, value),
                i(0x06, 0, 0, EPERM),
                i(0x06, 0, 0, ALLOW),
            ];
            answer(&[program], CALL) == Answer::Refused
        };
        assert!(refuses(0, 16) && refuses(4, 7) && refuses(24, 0x4711));
        assert!(!refuses(0, 17) && !refuses(4, 8) && !refuses(24, 0x4712));
    }

    #[test]
    fn what_is_not_known_can_be_anything() {
        // The first argument, the request's high half, the instruction pointer.
        for offset in [16, 28, 8] {
            for value in [EPERM, ALLOW] {
                let other = if value == ALLOW { EPERM } else { ALLOW };
                let program = vec![
                    i(0x20, 0, 0, offset),
                    i(0x15, 0, 1, 3),
                    i(0x06, 0, 0, value),
                    i(0x06, 0, 0, other),
                ];
                assert_eq!(answer(&[program], CALL), Answer::Allowed);
            }
        }
        let either = [libc::SECCOMP_RET_USER_NOTIF, EPERM];
        let program = vec![
            i(0x20, 0, 0, 16),
            i(0x54, 0, 0, 1),
            i(0x35, 0, 1, 1),
            i(0x06, 0, 0, either[0]),
            i(0x06, 0, 0, either[1]),
        ];
        assert_eq!(answer(&[program], CALL), Answer::Asked);
    }

    #[test]
    fn of_several_one_that_refuses_is_enough() {
        let [refuses, allows, asks] =
            [EPERM, ALLOW, libc::SECCOMP_RET_USER_NOTIF].map(|value| vec![i(0x06, 0, 0, value)]);
        assert_eq!(answer(&[], CALL), Answer::Allowed);
        assert_eq!(answer(&[allows.clone(), asks.clone()], CALL), Answer::Asked);
        assert_eq!(answer(&[asks, refuses, allows], CALL), Answer::Refused);
    }

    #[test]
    fn what_is_not_understood_is_not_said_to_refuse() {
        for program in [
            vec![],
            vec![i(0x28, 0, 0, 0)],
            vec![i(0x05, 0, 0, u32::MAX)],
            vec![i(0x60, 0, 0, 99)],
        ] {
            assert_eq!(answer(&[program], CALL), Answer::Allowed);
        }
        // More ways than can be followed.
        let mut maze = vec![i(0x20, 0, 0, 16)];
        maze.extend((0..200).map(|_| i(0x45, 0, 0, 1)));
        maze.push(i(0x06, 0, 0, EPERM));
        assert_eq!(answer(&[maze], CALL), Answer::Allowed);
    }

    #[test]
    fn it_computes_as_the_kernel_does() {
        let compute = |instructions: &[Instruction], expected: u32| {
            let mut program = instructions.to_vec();
            program.extend([
                i(0x15, 0, 1, expected),
                i(0x06, 0, 0, EPERM),
                i(0x06, 0, 0, ALLOW),
            ]);
            assert_eq!(
                answer(&[program], CALL),
                Answer::Refused,
                "{instructions:?}"
            );
        };
        compute(&[i(0x20, 0, 0, 24), i(0x54, 0, 0, 0xff00)], 0x4700);
        compute(
            &[
                i(0x00, 0, 0, 7),
                i(0x02, 0, 0, 3),
                i(0x00, 0, 0, 1),
                i(0x60, 0, 0, 3),
            ],
            7,
        );
        compute(
            &[i(0x01, 0, 0, 5), i(0x00, 0, 0, 3), i(0x1c, 0, 0, 0)],
            3_u32.wrapping_sub(5),
        );
        compute(
            &[i(0x80, 0, 0, 0), i(0x74, 0, 0, 3), i(0x84, 0, 0, 0)],
            8_u32.wrapping_neg(),
        );
        compute(
            &[
                i(0x00, 0, 0, 9),
                i(0x07, 0, 0, 0),
                i(0x00, 0, 0, 0),
                i(0x87, 0, 0, 0),
            ],
            9,
        );
        compute(
            &[
                i(0x00, 0, 0, 6),
                i(0xa4, 0, 0, 3),
                i(0x44, 0, 0, 8),
                i(0x24, 0, 0, 2),
            ],
            26,
        );
    }
}
