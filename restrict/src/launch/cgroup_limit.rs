// SPDX-License-Identifier: MIT OR Apache-2.0
//! Limits of all the program's processes together, by the names of their files.

use std::{fmt, str::FromStr};

use super::options::{InvalidOption, parse_size};
use crate::confine::cgroup::Limits;

/// A limit by name, what profile `strict` sets, and what may be set.
struct Row {
    name: &'static str,
    /// Always one of them is set; without, only what is asked for.
    preset: Option<u64>,
    least: u64,
    most: u64,
}

const fn row(name: &'static str, preset: Option<u64>, least: u64, most: u64) -> Row {
    Row {
        name,
        preset,
        least,
        most,
    }
}

const TABLE: [Row; 5] = [
    row("pids.max", Some(256), 0, u64::MAX),
    // A device model's memory depends on its guest's devices: no number fits all.
    row("memory.max", Some(2 << 30), 0, u64::MAX),
    row("memory.swap.max", Some(0), 0, u64::MAX),
    // Where nothing is asked for, the kernel's: 100, and no maximum.
    row("cpu.weight", None, 1, 10_000),
    row("cpu.max", None, 1000, 1 << 40),
];

/// One of them, as `NAME=VALUE`: a number, a size (K, M, G), or `max`. `cpu.weight` is
/// from 1 to 10000, and 100 for others; `cpu.max` is in microseconds of processors in each
/// 100 ms.
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
            .position(|known| known.name == name)
            .ok_or_else(shown)?;
        let value = match value {
            "max" => None,
            "0" => Some(0),
            size => Some(parse_size(size).map_err(|_| shown())?),
        };
        let Row { least, most, .. } = TABLE[row];
        let weight = name == "cpu.weight";
        match value {
            Some(value) if value < least || value > most => Err(shown()),
            None if weight => Err(shown()),
            value => Ok(Self { row, value }),
        }
    }
}

impl fmt::Display for CgroupLimit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = TABLE[self.row].name;
        match self.value {
            Some(value) => write!(f, "{name}={value}"),
            None => write!(f, "{name}=max"),
        }
    }
}

impl CgroupLimit {
    /// Those that are always set, and what was asked for by name.
    pub(crate) fn all(asked: &[Self]) -> Vec<Self> {
        let limit = |row: usize| {
            let preset = TABLE[row].preset.map(|value| Self {
                row,
                value: Some(value),
            });
            let asked = asked.iter().rfind(|limit| limit.row == row);
            asked.copied().or(preset)
        };
        (0..TABLE.len()).filter_map(limit).collect()
    }

    /// Of all of them that of this name; `None` is `max`, or as the kernel has it.
    pub(crate) fn value(all: &[Self], name: &str) -> Option<u64> {
        let limit = all.iter().find(|limit| TABLE[limit.row].name == name);
        limit.and_then(|limit| limit.value)
    }

    /// For a group that is to be made.
    pub(crate) fn limits(all: &[Self]) -> Limits {
        let value = |name| Self::value(all, name);
        Limits {
            pids: value("pids.max"),
            memory: value("memory.max"),
            swap: value("memory.swap.max"),
            cpu_weight: value("cpu.weight"),
            cpu_max: value("cpu.max"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_what_the_kernel_takes() {
        for text in [
            "pids.max=0",
            "memory.max=max",
            "cpu.weight=1",
            "cpu.weight=10000",
            "cpu.max=1000",
            "cpu.max=max",
        ] {
            assert_eq!(text.parse::<CgroupLimit>().unwrap().to_string(), text);
        }
        for text in [
            "cpu.weight=0",
            "cpu.weight=10001",
            "cpu.weight=max",
            "cpu.max=999",
            "cpu.max=1000 1000",
            "cpu.max=50%",
            "cpu.idle=1",
            "pids.max",
        ] {
            text.parse::<CgroupLimit>().unwrap_err();
        }
    }

    #[test]
    fn of_the_processor_only_what_was_asked_for_is_set() {
        assert_eq!(CgroupLimit::limits(&CgroupLimit::all(&[])).cpu_weight, None);
        let asked = ["cpu.max=5000", "cpu.weight=7", "cpu.max=1K"];
        let asked = asked.map(|text| text.parse().unwrap());
        let limits = CgroupLimit::limits(&CgroupLimit::all(&asked));
        assert_eq!((limits.cpu_max, limits.cpu_weight), (Some(1024), Some(7)));
        assert_eq!((limits.pids, limits.swap), (Some(256), Some(0)));
    }
}
