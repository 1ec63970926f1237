// SPDX-License-Identifier: MIT OR Apache-2.0
//! The `xen_version` hypercall (Xen's `public/version.h`).

/// `XENVER_version`: returns major version << 16 | minor version.
pub const VERSION: u32 = 0;
/// `XENVER_extraversion`: fills [`EXTRAVERSION_LEN`] bytes.
pub const EXTRAVERSION: u32 = 1;
/// `XENVER_get_features`: see [`FeatureInfo`].
pub const GET_FEATURES: u32 = 6;
/// `XENVER_pagesize`: returns the page size in bytes.
pub const PAGESIZE: u32 = 7;

/// `XEN_EXTRAVERSION_LEN`: bytes, with a NUL.
pub const EXTRAVERSION_LEN: usize = 16;

abi! {
    /// `struct xen_feature_info`, of [`GET_FEATURES`].
    pub struct FeatureInfo: 8 {
        /// In: which 32 features.
        submap_idx: u32 = 0,
        /// Out: one bit each.
        submap: u32 = 4,
    }
}
