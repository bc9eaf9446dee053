//! The running daemon as its operator meets it: logs, files, signals, HTTP.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test ends by it"
)]

#[path = "../namespace/mod.rs"]
mod namespace;

mod capture;
mod detection_log;
mod environment;
mod evidence;
mod interfaces;
mod lab;
mod log_lines;
mod metrics;
mod notices;
mod reload;
mod sets;
mod shell;
mod web;
