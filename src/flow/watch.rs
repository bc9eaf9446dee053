//! What is remembered of a flow that gave evidence, until it ends.

use btblocker_detectors::{Ends, Evidence, Timestamp};

/// Evidence that was reported, to be reported again.
#[derive(Clone, Copy, Debug)]
pub struct Remembered {
    /// What was seen.
    pub evidence: Evidence,
    /// Payload length on the wire of the packet that gave it, in bytes.
    pub payload_len: u32,
}

/// The surest evidence that each end gave, and with which proof it was reported.
#[derive(Clone, Debug)]
pub(super) struct Watch {
    /// By speaker.
    pub(super) best: [Option<Remembered>; 2],
    /// Ends that were proven when the evidence was last reported.
    pub(super) reported: Ends,
    /// When the inspector was last told to give its evidence anew; at first: when it gave the first.
    pub(super) armed: Timestamp,
}

impl Watch {
    pub(super) const fn new() -> Self {
        Self {
            best: [None; 2],
            reported: Ends::NONE,
            armed: Timestamp(0),
        }
    }
    /// Keeps the surest; of equals the latest, which may name more.
    pub(super) fn remember(&mut self, new: Remembered) {
        let best = &mut self.best[new.evidence.speaker.index()];
        if best.is_none_or(|best| best.evidence.confidence <= new.evidence.confidence) {
            *best = Some(new);
        }
    }
}
