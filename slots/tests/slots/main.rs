//! Updates on a simulated flash: what is refused and when, and losses of power at every word and every erase block.

mod flash;
mod models;
mod power;
mod updates;
