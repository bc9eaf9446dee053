//! btblocker: recognises BitTorrent on network interfaces and bans the hosts that speak it.
//!
//! This page is the architecture: what flows where, in which type, and what must stay true.
//!
//! # What flows
//!
//! ```text
//! interface ─capture─► FrameBatch ─packet─► PacketView ─flow─► inspector of the flow ─detectors─► Evidence
//!                                                                                                   │ Report
//!    kernel set ◄─backend─ Change ◄─ban manager (cache, exemptions, deadlines)◄─ Verdict ◄─judge────┘
//!                             └────► log line, detection log, metric, notice
//! ```
//!
//! | step | lives in | takes → gives |
//! |---|---|---|
//! | capture | [`capture`] | interface or file → [`capture::FrameBatch`]: many frames in one recycled buffer |
//! | parse | [`packet`] | bytes and link type → [`packet::PacketView`], or the reason why it is skipped |
//! | track | [`flow`] | packet → its flow in a bounded table; who opened it, who is proven to take part |
//! | detect | crate `btblocker-detectors` | payload and the flow's small state → evidence, learned endpoints |
//! | judge | [`judge`] | evidence and what hosts did before → verdict: this flow is BitTorrent, ban this host |
//! | ban | [`ban`] | verdict and time → change of a kernel set; cache, exemptions, deadlines, reconciliation |
//! | enforce | [`backend`] | changes → nftables, ipset or XDP; each behind [`ban::SetBackend`] |
//! | tell | [`event`], [`sink`], [`metrics`], [`logging`] | verdicts and counters → lines, files, numbers, notices |
//! | show | [`overview`] | hosts, bans, counters over time → one document for terminal, web page and report |
//! | remember | [`state`] | bans in force → a file that survives restart and reboot |
//! | give up rights | [`sandbox`] | what the configuration needs → a user, few capabilities, confined files and system calls |
//! | ask | [`control`] | commands on a unix socket → answers of the running daemon |
//!
//! [`pipeline`] runs parse, track and detect on batches; [`daemon`] wires the live path, [`commands`] does the
//! rest; [`network`] is what this machine knows of its interfaces, addresses and routes; [`config`] is one
//! configuration out of four sources.
//!
//! # Threads
//!
//! One capture thread per interface. With `workers = 0` it inspects frames where they lie; otherwise batches go over one
//! bounded channel per worker to long-running tasks on a pool of their own, chosen by a symmetric hash of the
//! addresses, so one flow is always seen by one worker in capture order. Reports, which are rare, go over a bounded
//! channel to one thread that judges, bans, and alone writes to the kernel's sets. Whatever may wait for somebody else
//! (disk, web hooks, HTTP, commands, the table of connections) has a thread and a bounded queue of its own.
//!
//! # What must stay true
//!
//! - Nothing on the packet path allocates, locks, logs or makes a system call per packet; a full queue drops and
//!   counts, and never waits.
//! - A packet that ends in the kernel ([`capture::EarlyExit`]) is of a flow that the flow table calls settled, too.
//! - Every table, queue and cache is bounded. Packets, flows, evidence, bans and messages that are lost for lack of room are
//!   counted by place; what is only forgotten or left out sooner (fragments, flows that wait for corroboration, recent
//!   packets, connections to end) is not.
//! - Detectors are pure. They say what a packet is, whose conduct it shows and which end it proves, never who is to be
//!   banned; evidence counts against those whose conduct it shows.
//! - Flow and judge time is packet time, ban time is an argument: a replay is the live path with another source.
//! - The source of a lone packet can be forged. Only ends that are proven to take part are banned.
//! - Ports are never evidence. Exempt ports only suppress evidence below conclusive.
//! - A ban is logged, notified and counted as in force when the kernel has taken it, not when it is decided.
//! - Expiry is the kernel's: if this program dies, traffic flows on and bans run out.
//! - Rights are given up before the first thread starts, so no packet is ever parsed with more than it takes to
//!   capture and to ban.
//! - Imports point down the layers (`tests/layering.rs`).

pub mod backend;
pub mod ban;
pub mod capture;
pub mod cli;
pub mod commands;
pub mod config;
pub mod control;
pub mod daemon;
pub mod event;
pub mod flow;
pub mod judge;
pub mod logging;
pub mod metrics;
pub mod network;
pub mod overview;
pub mod packet;
pub mod pipeline;
pub mod sandbox;
pub mod sink;
pub mod state;
