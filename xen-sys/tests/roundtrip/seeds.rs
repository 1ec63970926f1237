// SPDX-License-Identifier: MIT OR Apache-2.0
//! The laws, for the seeds of their fuzz targets and what is near them.

#[path = "../../../fuzz/replay.rs"]
mod replay;

use crate::{encode, laws};

#[test]
fn each_law_holds_for_its_seeds_and_what_is_near_them() {
    replay::replay(&[
        ("dm_op", laws::dm_op),
        ("encode", encode::encode),
        ("gntalloc", laws::gntalloc),
        ("gntdev", laws::gntdev),
        ("ioreq", laws::ioreq),
        ("lists", laws::lists),
    ]);
}
