// SPDX-License-Identifier: MIT OR Apache-2.0
//! Structs whose layout is written down, and asserted, where they are defined.

/// The layout of a struct of the ABI, as it is compared with the C headers.
pub trait Layout {
    /// Size in bytes.
    const SIZE: usize;
    /// Alignment in bytes.
    const ALIGN: usize;
    /// Each field's name and offset in bytes, in order.
    const FIELDS: &'static [(&'static str, usize)];
}

/// Defines `pub struct Name: SIZE { field: Type = OFFSET, ... }`, all public.
macro_rules! abi {
    ($(
        $(#[$meta:meta])*
        pub struct $name:ident: $size:literal {
            $( $(#[$field_meta:meta])* $field:ident: $ty:ty = $offset:literal, )*
        }
    )*) => {$(
        $(#[$meta])*
        #[derive(
            Clone, Copy, Debug, PartialEq, Eq,
            ::zerocopy::FromBytes, ::zerocopy::IntoBytes,
            ::zerocopy::Immutable, ::zerocopy::KnownLayout,
        )]
        #[repr(C)]
        pub struct $name {
            $( $(#[$field_meta])* pub $field: $ty, )*
        }

        const _: () = {
            assert!(size_of::<$name>() == $size);
            $( assert!(::core::mem::offset_of!($name, $field) == $offset); )*
        };

        impl $crate::Layout for $name {
            const SIZE: usize = $size;
            const ALIGN: usize = align_of::<$name>();
            const FIELDS: &'static [(&'static str, usize)] =
                &[$( (stringify!($field), $offset) ),*];
        }

        impl Default for $name {
            /// All bytes 0.
            fn default() -> Self {
                ::zerocopy::FromZeros::new_zeroed()
            }
        }
    )*};
}
