//! What is remembered of one ban.

use std::sync::Arc;
use std::time::Duration;

use btblocker_detectors::Timestamp;

/// Why a host is banned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reason {
    /// Name of the technique that recognised it, or one of [`Reason::BY_HAND`] and [`Reason::UNKNOWN`].
    pub technique: String,
    /// The reason in words.
    pub text: String,
    /// The program that the host runs, where it is known.
    pub client: Option<String>,
}

impl Reason {
    /// Technique of bans by command.
    pub const BY_HAND: &'static str = "by-hand";
    /// Technique of bans that were found in the kernel's set without a record of why.
    pub const UNKNOWN: &'static str = "unknown";

    /// Somebody asked for it.
    pub fn by_hand() -> Self {
        Self {
            technique: Self::BY_HAND.to_owned(),
            text: "asked for by command".to_owned(),
            client: None,
        }
    }

    /// The kernel held it, and nobody knows why.
    pub fn unknown() -> Self {
        Self {
            technique: Self::UNKNOWN.to_owned(),
            text: "found in the kernel's set".to_owned(),
            client: None,
        }
    }
}

/// One ban in force. Cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Why.
    pub reason: Arc<Reason>,
    /// When it began, by the wall clock; a renewal does not change it.
    pub since: Timestamp,
    /// When it ends, on the clock of the manager.
    pub deadline: Duration,
    /// How long it lasts, and how long a renewal makes it last again.
    pub duration: Duration,
    /// Flows of the host that were judged BitTorrent, from the one that led to the ban.
    pub flows: u32,
    /// How often the host was banned within the memory of `ban_escalation`, this time included.
    pub times: u32,
}
