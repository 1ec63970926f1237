// SPDX-License-Identifier: MIT OR Apache-2.0
//! Grant tables, version 1, and the `grant_table_op` hypercall (Xen's
//! `public/grant_table.h`).

use bitflags::bitflags;

/// `GNTTABOP_setup_table`
pub const SETUP_TABLE: u32 = 2;
/// `GNTTABOP_query_size`
pub const QUERY_SIZE: u32 = 6;

/// `GNTST_okay`
pub const GNTST_OKAY: i16 = 0;
/// `GNTST_general_error`
pub const GNTST_GENERAL_ERROR: i16 = -1;
/// `GNTST_bad_domain`: no such domain, or it may not be named.
pub const GNTST_BAD_DOMAIN: i16 = -2;
/// `GNTST_bad_gntref`: no such grant, or it is not for the caller.
pub const GNTST_BAD_GNTREF: i16 = -3;
/// `GNTST_bad_handle`
pub const GNTST_BAD_HANDLE: i16 = -4;
/// `GNTST_bad_virt_addr`
pub const GNTST_BAD_VIRT_ADDR: i16 = -5;
/// `GNTST_bad_dev_addr`
pub const GNTST_BAD_DEV_ADDR: i16 = -6;
/// `GNTST_no_device_space`: out of mappings.
pub const GNTST_NO_DEVICE_SPACE: i16 = -7;
/// `GNTST_permission_denied`
pub const GNTST_PERMISSION_DENIED: i16 = -8;
/// `GNTST_bad_page`: the granted page is not there.
pub const GNTST_BAD_PAGE: i16 = -9;
/// `GNTST_bad_copy_arg`: the range leaves the page.
pub const GNTST_BAD_COPY_ARG: i16 = -10;
/// `GNTST_address_too_big`
pub const GNTST_ADDRESS_TOO_BIG: i16 = -11;
/// `GNTST_eagain`: the page is being paged in.
pub const GNTST_EAGAIN: i16 = -12;
/// `GNTST_no_space`: the table is full.
pub const GNTST_NO_SPACE: i16 = -13;

/// References below this one are the toolstack's.
pub const NR_RESERVED_ENTRIES: u32 = 8;

bitflags! {
    /// [`EntryV1::flags`]: the type in the low two bits (0 is invalid), and
    /// its flags.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct EntryFlags: u16 {
        /// `GTF_permit_access`: the other side may map and copy.
        const PERMIT_ACCESS = 1;
        /// `GTF_accept_transfer`: the other side may give a page.
        const ACCEPT_TRANSFER = 2;
        /// `GTF_readonly`: the other side may only read.
        const READONLY = 1 << 2;
        /// `GTF_reading`: mapped; set by Xen.
        const READING = 1 << 3;
        /// `GTF_writing`: mapped for writing; set by Xen.
        const WRITING = 1 << 4;
    }
}

abi! {
    /// `struct grant_entry_v1`: 512 a page, indexed by grant reference.
    pub struct EntryV1: 8 {
        /// [`EntryFlags`]; written last, since it makes the entry valid.
        flags: u16 = 0,
        /// The domain that gets the grant.
        domid: u16 = 2,
        /// The page (gfn).
        frame: u32 = 4,
    }

    /// `struct gnttab_setup_table`
    pub struct SetupTable: 24 {
        /// In: whose table.
        dom: u16 = 0,
        /// Zero.
        pad: u16 = 2,
        /// In: how many frames it shall have.
        nr_frames: u32 = 4,
        /// Out: one of `GNTST_*`.
        status: i16 = 8,
        /// Zero.
        pad1: [u16; 3] = 10,
        /// In: address of room for `nr_frames` frame numbers (u64 each).
        frame_list: u64 = 16,
    }

    /// `struct gnttab_query_size`
    pub struct QuerySize: 16 {
        /// In: whose table.
        dom: u16 = 0,
        /// Zero.
        pad: u16 = 2,
        /// Out: frames it has.
        nr_frames: u32 = 4,
        /// Out: frames it can have.
        max_nr_frames: u32 = 8,
        /// Out: one of `GNTST_*`.
        status: i16 = 12,
        /// Zero.
        pad1: u16 = 14,
    }
}
