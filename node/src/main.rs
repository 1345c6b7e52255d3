//! The one binary.
#![allow(unused_crate_dependencies)]
fn main() {}
