//! Recognition of BitTorrent in packets, pure: no I/O, no clock, no heap, no log, no global state.
//!
//! Bytes go in, [`Findings`] come out. Two inspectors hold what one flow needs to be remembered:
//! [`TcpInspector`] (with the [`StreamBuffers`] that its owner lends it while the beginning of the
//! stream is being read) and [`UdpInspector`]. Everything else in this crate is one file per technique
//! and has no state, or a small fixed-size state that an inspector carries.
//!
//! The crate says what a packet *is*, whose conduct it shows and which end of the flow it *proves* to take part;
//! it never says who is to be banned.
//!
//! It is usable alone. Keep one inspector per flow, show it the payloads in capture order, read the findings:
//!
//! ```
//! use btblocker_detectors::{Confidence, Findings, Options, Side, Timestamp, UdpDatagram, UdpInspector};
//!
//! let (mut inspector, mut findings) = (UdpInspector::new(), Findings::new());
//! let payload = b"d1:ad2:id20:\x8a\x17\xf3\x52\xc9\x0e\xd4\x61\xb8\x2f\x99\x40\xe7\x1c\x5a\xa3\x76\xdd\x08\x3be\
//!                 1:q4:ping1:t2:aa1:y1:qe";
//! let datagram = UdpDatagram {
//!     from: Side::Originator,
//!     at: Timestamp(1_790_000_000_000_000),
//!     payload,
//!     wire_len: payload.len() as u32,
//!     multicast: false,
//! };
//! inspector.datagram(&datagram, &Options::default(), &mut findings);
//! let found = findings.evidence().next().expect("a DHT query is evidence");
//! assert_eq!((found.technique.name(), found.rule), ("dht", "ping"));
//! assert_eq!(found.confidence, Confidence::Conclusive);
//! // A query has no proof that its sender is who it says; an answer to it has.
//! assert!(found.proves.is_empty());
//! ```
//!
//! In the repository, `examples/classify_payload.rs` does the same for TCP, `examples/judge_capture.rs` goes on from
//! packets to verdicts, and `examples/write_backend.rs` holds bans in a place of one's own.
#![no_std]
#![forbid(unsafe_code)]

#[cfg(test)]
#[macro_use]
extern crate std;

pub mod azureus;
pub mod bencode;
pub mod datagram;
mod dht;
mod entropy;
pub mod evidence;
mod exclusion;
mod extension;
pub mod findings;
mod grammar;
pub mod handshake;
mod http;
mod lsd;
pub mod mse;
pub mod options;
pub mod peer_message;
pub mod randomness;
mod recent;
mod recorded;
mod reported;
mod signature;
mod socks;
mod socks_udp;
pub mod stream;
pub mod tcp;
mod tls;
pub mod udp;
mod udp_tracker;
mod utp;
mod utp_connection;
mod vuze_dht;
mod windows;
mod wire;

pub use datagram::UdpDatagram;
pub use evidence::{
    Class, Client, Confidence, Endpoint, Ends, Evidence, InfoHash, Side, Technique, Timestamp, Transport,
};
pub use findings::{Findings, Learned, LearnedFrom};
pub use options::{Options, Sensitivity};
pub use signature::signature_is_evidence;
pub use stream::StreamBuffers;
pub use tcp::{TcpInspector, TcpSegment};
pub use udp::UdpInspector;

/// What an inspector still wants to see of its flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// The ordered beginning of the stream is still being read: keep the [`StreamBuffers`] (TCP only).
    Stream,
    /// Single packets are still worth a look; the [`StreamBuffers`] can be released.
    Packets,
    /// Nothing more to learn: later packets need not be shown.
    Done,
}
