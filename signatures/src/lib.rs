//! Byte signatures and client names of BitTorrent and its look-alikes, as data.
//!
//! The files in `data/` are turned into `static` tables when the crate is built; nothing is parsed, nor
//! allocated, at run time. [`at`] answers which signatures stand at an [`Anchor`];
//! [`client_of_peer_id`], [`client_of_dht_tag`] and [`client_of_user_agent`] name the program that speaks.
//!
//! Every signature is tied to a place in a message. There is no way to write one that is searched for
//! anywhere in a packet, so that a page, a mail or a chat *about* BitTorrent matches nothing. The caller
//! cuts the field that an anchor names out of the message; this crate does not parse messages, keeps no
//! state, and does not decide what a match is worth beyond [`Signature::confidence`].
//!
//! The crate `detectors` asks for the starts of streams and datagrams, for ids of Azureus messages, for user agents, and for
//! bodies of HTTP (weak ones). At the other anchors the table says what messages look like whose structure the techniques
//! of that crate read themselves, which says more than bytes: such an entry is reference, and is evidence of nothing.
//!
//! # Adding a signature
//!
//! Add a table to the file of its family:
//!
//! ```toml
//! [[signature]]
//! id = "krpc-query"                   # letters, digits, dashes; never changed: operators switch by it
//! technique = "dht"                   # a technique of the crate `detectors`
//! class = "dht-maintenance"           # a class of the crate `detectors`
//! anchor = "datagram-start"           # a word of `Anchor`
//! transport = "udp"                   # tcp, udp, any
//! confidence = "conclusive"           # weak, strong, conclusive
//! bytes = 'd1:ad2:id20:'              # see below
//! source = "BEP 5, KRPC protocol"     # specification and section, or the client's source file
//! positive = 'd1:ad2:id20:abcdefghij0123456789e1:q4:ping1:t2:aa1:y1:qe'  # a complete message that holds the signature
//! negative = 'd1:ad2:id2:xye'         # the message that is most easily mistaken for it
//! ```
//!
//! `bytes` and the samples are written in single quotes: printable ASCII stands for itself; `\r`, `\n`,
//! `\\` and `\xHH` for one byte. In `bytes`, `\?` is any byte and `\xHH&MM` a byte that is `HH` in the
//! bits of mask `MM`. `exact = true` demands that the field ends with the signature.
//!
//! The build fails, naming file, entry and reason, on unknown words or keys, malformed bytes, an id or
//! a pair of anchor and bytes that exists already, a start of a stream or datagram with fewer than 32
//! fixed bits, or a conclusive signature with fewer than 50. `cargo test` checks that the positive sample
//! matches and the negative one does not.
//!
//! Client names are added to `data/clients.toml`, whose head explains its tables.
#![no_std]
#![forbid(unsafe_code)]

mod client;
mod matcher;
mod query;
mod text;
mod version;
#[allow(unreachable_pub, dead_code, reason = "the build script uses the rest")]
mod words;

/// The tables that the build script made of `data/`.
mod tables {
    use crate::client::{Azureus, Convention, DhtTag};
    use crate::matcher::{Pattern, Signature};
    use crate::words::{Anchor, Confidence, Transports, VersionStyle};

    include!(concat!(env!("OUT_DIR"), "/tables.rs"));
}

pub use client::{ClientName, client_of_dht_tag, client_of_peer_id, client_of_user_agent};
pub use matcher::{Matches, Pattern, Signature, at, by_id};
pub use query::parameter_order;
pub use tables::SIGNATURES;
pub use words::{Anchor, Confidence, Transport, Transports};
