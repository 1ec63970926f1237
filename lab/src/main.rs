//! Boots real Xen.
fn main() {}
