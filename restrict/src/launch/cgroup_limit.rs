// SPDX-License-Identifier: MIT OR Apache-2.0
//! Limits of all the program's processes together, by the names of their files.

use std::{fmt, str::FromStr};

use super::options::{InvalidOption, parse_size};

/// The limits there are, and what profile `strict` sets.
const TABLE: [(&str, Option<u64>); 3] = [
    ("pids.max", Some(256)),
    // A device model's memory depends on its guest's devices: no number fits all.
    ("memory.max", Some(2 << 30)),
    ("memory.swap.max", Some(0)),
];

/// One of them, as `NAME=VALUE`: a number, a size (K, M, G), or `max`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CgroupLimit {
    row: usize,
    /// `None` is `max`.
    value: Option<u64>,
}

impl FromStr for CgroupLimit {
    type Err = InvalidOption;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let shown = || InvalidOption::CgroupLimit(text.escape_debug().to_string());
        let (name, value) = text.split_once('=').ok_or_else(shown)?;
        let row = TABLE
            .iter()
            .position(|(known, _)| *known == name)
            .ok_or_else(shown)?;
        let value = match value {
            "max" => None,
            "0" => Some(0),
            size => Some(parse_size(size).map_err(|_| shown())?),
        };
        Ok(Self { row, value })
    }
}

impl fmt::Display for CgroupLimit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = TABLE[self.row].0;
        match self.value {
            Some(value) => write!(f, "{name}={value}"),
            None => write!(f, "{name}=max"),
        }
    }
}

impl CgroupLimit {
    /// pids.max, memory.max and memory.swap.max, with what was asked for by name.
    pub(crate) fn all(asked: &[Self]) -> [Self; 3] {
        std::array::from_fn(|row| {
            let preset = Self {
                row,
                value: TABLE[row].1,
            };
            asked
                .iter()
                .rfind(|limit| limit.row == row)
                .copied()
                .unwrap_or(preset)
        })
    }

    /// `None` is `max`.
    pub(crate) fn value(self) -> Option<u64> {
        self.value
    }
}
