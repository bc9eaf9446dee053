//! From evidence to a verdict: which flow is BitTorrent, and which host is banned for it.
//!
//! Two questions are kept apart. *Is the flow BitTorrent?* Conclusive evidence answers alone; strong and
//! weak evidence need [corroboration](Corroboration). *Who takes part?* A host is banned only when it is
//! proven to take part in the flow: the source of a lone packet can be forged. See [`Policy`] for what the
//! operator decides. All memory is bounded and all time is packet time.

mod decide;
mod host;
mod policy;
mod recent;
mod report;
mod verdict;

#[cfg(test)]
mod tests;

pub use decide::{Displaced, Dossier, FlowNote, Judge, Lack};
pub use policy::{Addresses, BanTarget, Policy};
pub use report::{FlowId, LearnedPeer, Report, Sighting};
pub use verdict::{BanVerdict, Corroboration, FlowVerdict, Verdict};
