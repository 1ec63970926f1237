// SPDX-License-Identifier: MIT OR Apache-2.0
//! One operation, as bytes and in words.

use std::fmt;

use xen_sys::dm_op::{
    AnyOperation, Frame, INJECT_EVENT, MAX_SIZE, Operation, REMOTE_SHUTDOWN, decode,
};
use zerocopy::IntoBytes;

/// An operation and its data, as Xen reads them.
pub(crate) struct Attempt {
    /// Aligned as the ABI wants it.
    words: [u64; MAX_SIZE / 8],
    length: usize,
    pub(crate) data: Vec<u8>,
}

impl Attempt {
    pub(crate) fn of<T: Operation>(body: T) -> Self {
        let frame = Frame::new(&body);
        let mut attempt = Self {
            words: [0; MAX_SIZE / 8],
            length: frame.as_bytes().len(),
            data: Vec::new(),
        };
        attempt.bytes().copy_from_slice(frame.as_bytes());
        attempt
    }

    /// The server that this one made, once Xen has answered.
    pub(crate) fn created(&self) -> Option<u16> {
        match decode(self.words.as_bytes())? {
            AnyOperation::CreateIoreqServer(body) => Some(body.id),
            _ => None,
        }
    }

    pub(crate) fn bytes(&mut self) -> &mut [u8] {
        &mut self.words.as_mut_bytes()[..self.length]
    }

    pub(crate) fn number(&self) -> u32 {
        // Native order: it is the first of two u32.
        u32::from_ne_bytes(*self.words.as_bytes().first_chunk().unwrap())
    }

    pub(crate) fn name(&self) -> String {
        let text = format!("{self:?}");
        text.split(['(', ' ']).next().unwrap_or_default().to_owned()
    }

    pub(crate) fn may_end_the_guest(&self) -> bool {
        [INJECT_EVENT, REMOTE_SHUTDOWN].contains(&self.number())
    }

    pub(crate) fn with(mut self, data: Vec<u8>) -> Self {
        self.data = data;
        self
    }
}

impl fmt::Debug for Attempt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match decode(self.words.as_bytes()) {
            Some(operation) => write!(f, "{operation:?}")?,
            None => write!(f, "{:x?}", self.words)?,
        }
        match self.data.len() {
            0 => Ok(()),
            length => write!(f, " and {length} bytes"),
        }
    }
}
