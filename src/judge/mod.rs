//! From evidence to a verdict: who is proven to speak BitTorrent, and who is to be banned for it.

mod report;

pub use report::{FlowId, LearnedPeer, Report, Sighting};
