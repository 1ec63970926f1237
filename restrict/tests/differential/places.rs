// SPDX-License-Identifier: MIT OR Apache-2.0
//! Where steps leave the numbers that later ones name: of ports and of grants, shared by
//! all processes.

use crate::step::{Action, PLACES};

const COUNT: usize = PLACES as usize;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Places([u64; 2 * COUNT]);

impl Places {
    /// A number that no port of dom0's has, and that could be one: its kernel makes room
    /// for 1024 at a time. An index that no sequence of this length reaches, in bytes.
    pub(crate) const EMPTY: Self = Self([1000, 1000, 1 << 30, 1 << 30]);

    /// What a step names.
    pub(crate) fn named_by(&self, action: Action) -> u64 {
        match action {
            Action::Notify(place) | Action::Unbind(place) => self.0[usize::from(place)],
            Action::MapGrant(place, ..) | Action::GiveBack(place) => {
                self.0[COUNT + usize::from(place)]
            }
            _ => 0,
        }
    }

    /// Keeps what a step was answered.
    pub(crate) fn keep(&mut self, action: Action, answer: u64) {
        match action {
            Action::Bind(_, _, place) | Action::Unbound(_, place) | Action::Virq(_, place) => {
                self.0[usize::from(place)] = answer;
            }
            Action::Grant(_, _, place) => self.0[COUNT + usize::from(place)] = answer,
            _ => {}
        }
    }

    pub(crate) fn words(self) -> [u64; 2 * COUNT] {
        self.0
    }

    pub(crate) fn from_words(words: [u64; 2 * COUNT]) -> Self {
        Self(words)
    }
}
