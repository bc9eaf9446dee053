//! The socket on which a running daemon answers commands.
//!
//! A unix stream socket of mode 0600, so only its owner and root can speak to it. JSON Lines: each request is one
//! line of at most 4 KiB, each answer some lines, the last of which holds `ok`:
//!
//! ```text
//! > {"command":"ban","address":"192.0.2.7","seconds":600}
//! < {"ok":true,"message":"192.0.2.7 banned for 600 s"}
//! > {"command":"bans"}
//! < {"event":"banned","address":"192.0.2.7","remaining_seconds":599,…}
//! < {"ok":true}
//! > {"command":"allow","address":"127.0.0.1/40"}
//! < {"ok":false,"error":"…"}
//! ```
//!
//! Promise: clients live in threads of their own, few and with deadlines, so none of them delays the daemon, which
//! only ever takes a request from a bounded queue and leaves the answer without waiting. Deliberately not here:
//! what a request does.

mod client;
mod message;
mod requests;
mod server;

pub use client::{AskError, ask};
pub use message::{Reply, Request, unban_words};
pub use requests::{Asked, Requests};
pub use server::{ControlError, Server};
