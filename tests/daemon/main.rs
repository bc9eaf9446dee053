//! The running program: commands, restarts, troubles from outside. Each test has a network namespace and folders of
//! its own. Needs root, `ip`, `nft` and `ipset`.
#![cfg(all(feature = "ipset", feature = "nftables"))]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]
#![allow(unreachable_pub, reason = "the module is shared by test programs")]

mod check;
mod clock;
mod commands;
mod death;
#[cfg(feature = "early-exit")]
mod early_exit;
mod faults;
mod healing;
mod interfaces;
#[path = "../namespace/mod.rs"]
mod namespace;
mod neighbour;
mod program;
mod protected;
mod restart;
mod rights;
mod storm;
mod top;
#[cfg(feature = "xdp")]
mod xdp;
