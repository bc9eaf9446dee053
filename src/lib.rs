//! btblocker: recognises BitTorrent on network interfaces and bans the hosts that speak it.

pub mod backend;
pub mod ban;
pub mod capture;
pub mod cli;
pub mod commands;
pub mod config;
pub mod daemon;
pub mod event;
pub mod flow;
pub mod judge;
pub mod logging;
pub mod metrics;
pub mod network;
pub mod packet;
pub mod pipeline;
pub mod sink;
