// SPDX-License-Identifier: MIT OR Apache-2.0
//! What requests for mappings cost dom0.

use std::fmt;

/// The kernel's memory that a program can take while it maps guest memory.
///
/// `MMAPBATCH_V2` copies the caller's list of frames, 8 bytes for each, before it looks at
/// them. That copy is nobody's: no control group and no limit counts it. The list can be one
/// page of zeros, mapped again and again, so that the caller itself needs next to none. Only
/// how much it can map bounds the list, and only its threads bound how many there are at a
/// time. Seen on Linux 6.1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MappingCost {
    /// Bytes for the time of one request.
    pub request: u64,
    /// Requests at a time; `None` is unlimited.
    pub threads: Option<u64>,
}

/// The count has 32 bits.
const LONGEST: u64 = (u32::MAX as u64) * 8;

impl MappingCost {
    /// With this much address space (bytes), and so many threads; `None` is unlimited.
    #[must_use]
    pub fn within(address_space: Option<u64>, threads: Option<u64>) -> Self {
        Self {
            request: address_space.map_or(LONGEST, |bytes| bytes.min(LONGEST)),
            threads,
        }
    }
}

impl fmt::Display for MappingCost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "up to {} MiB", self.request.div_ceil(1 << 20))?;
        match self.threads {
            Some(threads) => write!(f, " for each of {threads} threads"),
            None => f.write_str(" for each of any number of threads"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lower_of_address_space_and_count_bounds_a_request() {
        for (address_space, request) in [
            (None, LONGEST),
            (Some(u64::MAX), LONGEST),
            (Some(64 << 30), LONGEST),
            (Some(1 << 30), 1 << 30),
            (Some(0), 0),
        ] {
            assert_eq!(MappingCost::within(address_space, None).request, request);
        }
    }

    #[test]
    fn it_is_told_in_mebibytes_and_threads() {
        for (bytes, threads, told) in [
            (
                64 << 30,
                Some(256),
                "up to 32768 MiB for each of 256 threads",
            ),
            (1 << 20, Some(1), "up to 1 MiB for each of 1 threads"),
            (1, None, "up to 1 MiB for each of any number of threads"),
        ] {
            assert_eq!(MappingCost::within(Some(bytes), threads).to_string(), told);
        }
    }
}
