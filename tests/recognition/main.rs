//! Whole flows through the inspectors and the judge: what is BitTorrent, and what only resembles it.

mod datagram_lookalikes;
mod datagram_networks;
mod encrypted;
mod fan_out;
mod script;
mod strangers;
mod stream_lookalikes;
