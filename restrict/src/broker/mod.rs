// SPDX-License-Identifier: MIT OR Apache-2.0
//! Grants for a confined process, without the power over every domain's grants.
//!
//! Linux cannot restrict gntdev. But what a process may do with a handle can be divided: a
//! filter refuses all requests on the device, and leaves mmap. The broker, outside, has
//! the same open file, makes the requests for one guest only, and tells the process the
//! index to map. So pages are shared without a copy, and nothing that the process sends
//! can name another guest. `docs/grant-broker.md` has it with a picture.

#[cfg(feature = "fuzzing")]
pub(crate) mod benching;
mod buffer;
mod client;
mod devices;
mod maps;
pub mod message;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod nothing;
mod server;
#[cfg(test)]
pub(crate) mod tests;

pub(crate) use buffer::Shared;
pub(crate) use client::Client;
pub(crate) use devices::Devices;
pub(crate) use server::{Broker, Closed, Ready};
