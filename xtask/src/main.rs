//! `cargo xtask …`: set-up, demos, tests, benches. Thin glue, no logic of its own.
fn main() {}
