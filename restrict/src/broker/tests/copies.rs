// SPDX-License-Identifier: MIT OR Apache-2.0
//! Segments that leave what they are about are not copied.

use xen_sys::grant_table::{GNTST_BAD_GNTREF, GNTST_OKAY};

use super::{
    super::message::{COPY_BYTES, Place},
    kernel::GRANTED,
    *,
};

const FROM_GRANT: u16 = 1;
const TO_GRANT: u16 = 2;

fn place(at: u32, offset: u16) -> Place {
    Place {
        at,
        offset,
        zero: 0,
    }
}

/// A page of the guest's, into the shared memory.
fn segment() -> Segment {
    Segment {
        source: place(1, 0),
        dest: place(0, 0),
        length: 4096,
        flags: FROM_GRANT,
    }
}

fn is_refused(segment: Segment) {
    let mut conversation = Conversation::new();
    // One bad segment refuses all of them.
    let segments = [self::segment(), segment];
    assert_eq!(
        conversation.copy(&segments),
        Err(Errno::EINVAL),
        "{segment:?}"
    );
    assert!(conversation.kernel().copies.is_empty());
}

#[test]
fn each_segment_has_its_status() {
    let missing = Segment {
        source: place(GRANTED, 0),
        ..segment()
    };
    let between = Segment {
        dest: place(2, 0),
        flags: FROM_GRANT | TO_GRANT,
        ..segment()
    };
    let mut conversation = Conversation::new();
    let statuses = conversation.copy(&[segment(), missing, between]);
    assert_eq!(
        statuses.unwrap(),
        [GNTST_OKAY, GNTST_BAD_GNTREF, GNTST_OKAY]
    );
    assert_eq!(conversation.kernel().granted[2], vec![1; 4096]);
}

#[test]
fn a_segment_ends_with_its_page() {
    for (offset, length) in [(1, 4096), (4095, 2), (4097, 0), (u16::MAX, u16::MAX)] {
        let source = place(1, offset);
        is_refused(Segment {
            source,
            length,
            ..segment()
        });
        let (source, dest) = (place(0, 0), source);
        is_refused(Segment {
            source,
            dest,
            length,
            flags: TO_GRANT,
        });
        let (source, flags) = (place(0, 0), FROM_GRANT | TO_GRANT);
        is_refused(Segment {
            source,
            dest,
            length,
            flags,
        });
    }
}

#[test]
fn a_segment_ends_with_the_shared_memory() {
    let end = u32::try_from(COPY_BYTES).unwrap();
    for (at, length) in [
        (end - 4095, 4096),
        (end, 1),
        (u32::MAX, 0),
        (u32::MAX, 4096),
    ] {
        let (source, dest) = (place(1, 0), place(at, 0));
        is_refused(Segment {
            source,
            dest,
            length,
            flags: FROM_GRANT,
        });
        let (source, dest) = (dest, source);
        is_refused(Segment {
            source,
            dest,
            length,
            flags: TO_GRANT,
        });
    }
    let last = Segment {
        dest: place(end - 4096, 0),
        ..segment()
    };
    assert_eq!(Conversation::new().copy(&[last]).unwrap(), [GNTST_OKAY]);
}

#[test]
fn a_place_in_the_shared_memory_has_no_offset_in_a_page() {
    is_refused(Segment {
        dest: place(0, 1),
        length: 1,
        ..segment()
    });
}

#[test]
fn one_side_is_a_grant_and_no_other_flag_is_set() {
    for flags in [0, 4, FROM_GRANT | 4, TO_GRANT | 1 << 15, u16::MAX] {
        is_refused(Segment { flags, ..segment() });
    }
}

#[test]
fn bits_that_mean_nothing_are_refused() {
    let zero = 1 << 15;
    is_refused(Segment {
        source: Place {
            zero,
            ..place(1, 0)
        },
        ..segment()
    });
    is_refused(Segment {
        dest: Place {
            zero,
            ..place(0, 0)
        },
        ..segment()
    });
}

#[test]
fn nothing_and_too_much_are_no_copy() {
    let mut conversation = Conversation::new();
    assert_eq!(conversation.copy(&[]), Err(Errno::EINVAL));
    assert_eq!(conversation.copy(&[segment(); 257]), Err(Errno::EINVAL));
    assert_eq!(conversation.copy(&[segment(); 256]).unwrap().len(), 256);
}
