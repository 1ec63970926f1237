// SPDX-License-Identifier: MIT OR Apache-2.0
//! Tests that end the machine, or leave it so that nothing else can run there: each has a
//! boot of its own, and how that one ends is part of the test.

use std::time::Duration;

use crate::artifacts::{HOLES, KERNEL, Program, QEMU};
use crate::contents::{Contents, DEBIAN, TOOLSTACK};
use crate::dom0::Dom0;
use crate::machine::Limits;
use crate::suite::Suite;

/// How a boot ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// The jobs end, and nothing is broken.
    Well,
    /// The console says this.
    Console(&'static str),
    /// The job says this. What the machine does afterwards is left open: it may die at any
    /// time.
    Said(&'static str),
    /// Nothing is said any more on either port, by a job that says something each second.
    Hang,
}

impl End {
    pub(crate) fn in_words(&self) -> String {
        match self {
            Self::Well => "ended well".to_owned(),
            Self::Console(text) => format!("the console said `{text}`"),
            Self::Said(text) => format!("the test said `{text}`"),
            Self::Hang => "the machine hung".to_owned(),
        }
    }

    /// How long one test may take, and be silent.
    pub(crate) fn limits(&self) -> Limits {
        let silence = match self {
            // While it boots, too.
            Self::Hang => 60,
            Self::Well | Self::Console(_) | Self::Said(_) => 300,
        };
        Limits {
            silence: Duration::from_secs(silence),
            total: Duration::from_secs(20 * 60),
        }
    }
}

/// A test that nothing else runs beside. In its program it is ignored, so that it does not
/// run with the others.
#[derive(Debug)]
pub(crate) struct Alone {
    pub(crate) program: &'static Program,
    pub(crate) test: &'static str,
    pub(crate) contents: &'static Contents,
    /// Suites and kinds of dom0 that have it; elsewhere it does not run.
    ends: &'static [(&'static str, &'static str, End)],
}

const BAD_PAGE_MAP: End = End::Console("BUG: Bad page map in process hole_probe");
const EVTCHN: End = End::Console("kernel BUG at drivers/xen/evtchn.c");
const PRIVCMD: End = End::Console("kernel BUG at drivers/xen/privcmd.c");
const REMAP: End = End::Console("kernel BUG at arch/x86/xen/mmu_pv.c");
/// Where dom0 is PV, Xen refuses what the kernel writes into the page table.
const REFUSED: End = End::Console("1 of 1 multicall(s) failed");
/// Of whatever kind: it depends on what is where the kernel looks.
const FAULT: End = End::Console("[#1]");

/// Add a row to have one more.
pub(crate) const ALONE: &[Alone] = &[
    hole(
        "open::a_port_of_another_process_is_taken_and_its_owner_falls",
        &[
            ("trixie", "pv", EVTCHN),
            ("sid", "pv", EVTCHN),
            ("trixie", "pvh", EVTCHN),
            ("sid", "pvh", EVTCHN),
        ],
    ),
    hole(
        "open::ports_of_xenstored_are_taken_and_it_falls",
        &[
            ("trixie", "pv", EVTCHN),
            ("sid", "pv", EVTCHN),
            ("trixie", "pvh", EVTCHN),
            ("sid", "pvh", EVTCHN),
        ],
    ),
    hole(
        "open::ports_of_the_kernel_are_lost_and_dom0_hangs",
        &[
            ("trixie", "pv", End::Hang),
            ("sid", "pv", End::Hang),
            ("trixie", "pvh", End::Hang),
            ("sid", "pvh", End::Hang),
        ],
    ),
    hole(
        "open::more_frames_than_the_mapping_has_go_over_its_neighbours",
        &[
            ("bullseye", "pv", BAD_PAGE_MAP),
            ("bookworm", "pv", BAD_PAGE_MAP),
            ("bookworm", "pvh", BAD_PAGE_MAP),
            ("trixie", "pv", BAD_PAGE_MAP),
            ("sid", "pv", BAD_PAGE_MAP),
            ("trixie", "pvh", BAD_PAGE_MAP),
            ("sid", "pvh", BAD_PAGE_MAP),
        ],
    ),
    hole(
        "open::fewer_frames_than_the_mapping_has_corrupt_the_kernel",
        &[
            ("bookworm", "pvh", FAULT),
            ("trixie", "pvh", FAULT),
            ("sid", "pvh", FAULT),
        ],
    ),
    hole(
        "open::a_resource_mapped_twice_is_a_bug_of_the_kernel",
        &[("trixie", "pvh", PRIVCMD), ("sid", "pvh", PRIVCMD)],
    ),
    hole(
        "open::a_mapping_that_is_not_privcmds_is_a_bug_of_the_kernel",
        &[
            ("bullseye", "pv", REMAP),
            ("bookworm", "pv", REMAP),
            ("trixie", "pv", REMAP),
            ("sid", "pv", REMAP),
        ],
    ),
    hole(
        "open::a_moved_mapping_is_freed_while_it_is_used",
        &[
            ("bullseye", "pv", REFUSED),
            ("bookworm", "pv", REFUSED),
            ("bookworm", "pvh", FAULT),
            ("trixie", "pv", REFUSED),
            ("trixie", "pvh", FAULT),
        ],
    ),
    hole(
        "open::an_empty_buffer_pins_pages_without_end_with_the_filter_too",
        &[("bookworm", "pv", OPEN)],
    ),
    Alone {
        program: &KERNEL,
        test: "yama::where_yama_forbids_it_that_is_said",
        contents: &TOOLSTACK,
        ends: &[("bookworm", "pv", End::Well)],
    },
    Alone {
        program: &QEMU,
        test: "under_systemd::a_qemu_has_a_control_group_of_its_own",
        contents: &DEBIAN,
        ends: &[
            ("bookworm", "pv", End::Well),
            ("bookworm", "pvh", End::Well),
            ("trixie", "pv", End::Well),
            ("trixie", "pvh", End::Well),
            ("sid", "pv", End::Well),
        ],
    },
];

const OPEN: End = End::Said("pages pinned for one of a buffer");

const fn hole(test: &'static str, ends: &'static [(&'static str, &'static str, End)]) -> Alone {
    Alone {
        program: &HOLES,
        test,
        contents: &TOOLSTACK,
        ends,
    }
}

impl Alone {
    /// How it ends on this system, if it runs there.
    pub(crate) fn end(&self, suite: &Suite, dom0: &Dom0) -> Option<End> {
        let row = |row: &&(&str, &str, End)| row.0 == suite.name && row.1 == dom0.name;
        self.ends.iter().find(row).map(|&(_, _, end)| end)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::artifacts::TESTS;
    use crate::suite::SUITES;

    #[test]
    fn programs_are_in_the_table_of_tests() {
        for alone in ALONE {
            assert!(TESTS.iter().any(|row| row.program == *alone.program));
        }
    }

    #[test]
    fn rows_name_systems_that_there_are_and_each_once() {
        for alone in ALONE {
            for (at, (suite, dom0, _)) in alone.ends.iter().enumerate() {
                let found = SUITES.iter().find(|known| known.name == *suite).unwrap();
                assert!(found.dom0s.iter().any(|known| known.name == *dom0));
                let before = &alone.ends[..at];
                assert!(!before.iter().any(|row| (row.0, row.1) == (suite, dom0)));
            }
        }
    }
}
