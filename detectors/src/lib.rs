//! Recognition of BitTorrent in packets, pure: no I/O, no clock, no heap, no log, no global state.
//!
//! Bytes go in, [`Findings`] come out. Two inspectors hold what one flow needs to be remembered:
//! [`TcpInspector`] (with the [`StreamBuffers`] that its owner lends it while the beginning of the
//! stream is being read) and [`UdpInspector`]. Everything else in this crate is one file per technique
//! and has no state, or a small fixed-size state that an inspector carries.
//!
//! The crate says what a packet *is* and which end of the flow a packet *proves* to take part; it never
//! says who is to be banned.
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
mod reported;
mod signature;
mod socks;
mod socks_udp;
pub mod stream;
pub mod tcp;
pub mod udp;
mod udp_tracker;
mod utp;
mod utp_connection;
mod vuze_dht;
mod wire;

pub use datagram::UdpDatagram;
pub use evidence::{
    Class, Client, Confidence, Endpoint, Ends, Evidence, InfoHash, Side, Technique, Timestamp, Transport,
};
pub use findings::{Findings, Learned, LearnedFrom};
pub use options::{Options, Sensitivity};
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
