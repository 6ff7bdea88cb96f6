//! Entry points of the XDP program.
fn main() {}
