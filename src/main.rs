//! The `btblocker` program.

fn main() {}
