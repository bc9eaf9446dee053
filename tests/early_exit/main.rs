//! The early exit: what ends in the kernel and what does not. Each test has a network namespace of its own. Needs root,
//! `ip` and /dev/net/tun.
#![cfg(feature = "early-exit")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]
#![allow(unreachable_pub, reason = "the module is shared by test programs")]

mod filter;
mod flows;
mod lab;
#[path = "../namespace/mod.rs"]
mod namespace;
mod packets;
mod recordings;
#[path = "../namespace/tun.rs"]
mod tun;
