//! The running daemon as its operator meets it: logs, files, signals, HTTP.

#[path = "../namespace/mod.rs"]
mod namespace;

mod detection_log;
mod environment;
mod lab;
mod log_lines;
mod metrics;
mod notices;
mod reload;
