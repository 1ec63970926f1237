// SPDX-License-Identifier: MIT OR Apache-2.0
//! What holds for any bytes that a process sends.

use xen_sys::gntdev::{GrantCopyFlags, UnmapNotifyAction};
use zerocopy::IntoBytes;

use super::message::{
    COPY_BYTES, Head, MAX_GRANTS, MAX_SEGMENTS, Malformed, Request, Segment, VERSION, decode,
    operation,
};

const EINVAL: i32 = 22;

/// They are no request, or one that keeps what it promises.
pub fn is_read_or_refused(data: &[u8]) {
    // A byte at the end, to read them where they are not aligned.
    let mut words = vec![0_u64; data.len() / 8 + 1];
    let bytes = words.as_mut_bytes();
    bytes[..data.len()].copy_from_slice(data);
    match decode(&bytes[..data.len()]) {
        Ok((head, Ok(request))) => {
            is_as_promised(&head, request, data.len());
        }
        Ok((head, Err(errno))) => {
            assert_eq!(errno as i32, EINVAL);
            let can_be = [operation::MAP, operation::NOTIFY, operation::COPY];
            assert!(can_be.contains(&head.operation), "{head:?}");
        }
        Err(Malformed::Length(length)) => assert_eq!(length, data.len()),
        Err(_) => assert!(data.len() >= size_of::<Head>()),
    }
    if let Some(misaligned) = bytes.get(1..=data.len()) {
        assert_eq!(decode(misaligned), Err(Malformed::Length(data.len())));
    }
}

fn is_as_promised(head: &Head, request: Request<'_>, length: usize) {
    assert_eq!((head.version, head.zero), (VERSION, 0));
    let count = head.count as usize;
    let (operation, body) = match request {
        Request::Terms => {
            assert_eq!(count, 0);
            (operation::TERMS, 0)
        }
        Request::Map(grants) => {
            assert!((1..=MAX_GRANTS).contains(&count));
            assert_eq!(grants.len(), count);
            (operation::MAP, size_of_val(grants))
        }
        Request::Unmap { count, .. } => {
            assert_eq!(count, head.count);
            (operation::UNMAP, 8)
        }
        Request::Notify { count, notify } => {
            assert_eq!(count, head.count);
            assert!(notify.offset / 4096 < count.into());
            assert!(UnmapNotifyAction::from_bits(notify.action).is_some());
            (operation::NOTIFY, size_of_val(notify))
        }
        Request::Copy(segments) => {
            assert!((1..=MAX_SEGMENTS).contains(&count));
            assert_eq!(segments.len(), count);
            segments.iter().for_each(is_within);
            (operation::COPY, size_of_val(segments))
        }
    };
    assert_eq!(
        (head.operation, size_of::<Head>() + body),
        (operation, length)
    );
}

fn is_within(segment: &Segment) {
    let flags = GrantCopyFlags::from_bits(segment.flags).expect("known flags");
    assert!(!flags.is_empty());
    let ends = [
        (segment.source, GrantCopyFlags::SOURCE_GREF),
        (segment.dest, GrantCopyFlags::DEST_GREF),
    ];
    for (place, is_grant) in ends {
        assert_eq!(place.zero, 0);
        let (start, size) = match flags.contains(is_grant) {
            true => (usize::from(place.offset), 4096),
            false => (place.at as usize, COPY_BYTES),
        };
        assert!(start + usize::from(segment.length) <= size, "{segment:?}");
        assert!(flags.contains(is_grant) || place.offset == 0);
    }
}
