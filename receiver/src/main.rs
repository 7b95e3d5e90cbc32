//! The `receiver` command.
fn main() {}
