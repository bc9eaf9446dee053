//! What a run has seen and done, as it is shown: in the terminal, on the web page, and in the report of a replay.
//!
//! Promise: one document, [`Overview`], is made by whoever judges and read by everything that shows, so that all of
//! them show the same. Everything in it is bounded. It holds no payload, and info-hashes only as the configuration
//! lets them be shown; names of programs are chosen by peers and are text of unknown intent.

#![forbid(unsafe_code)]

mod explain;
mod history;
mod hosts;
mod page;

pub use explain::{Circumstances, Explanation};
pub use history::{History, Sample, Totals};
pub use hosts::{Host, Hosts, Treatment};
pub use page::{CONTENT_SECURITY_POLICY, live_page, report_page};

use std::time::Duration;

use btblocker_detectors::{Confidence, Technique};
use serde::{Deserialize, Serialize};

use crate::ban::{Element, Record};
use crate::event::rfc3339;
use crate::metrics::Counters;

/// Everything that is shown of one run.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Overview {
    /// What is watched: interfaces, or files.
    pub source: String,
    /// Version of the program.
    pub version: String,
    /// Name of the backend that holds the bans.
    pub backend: String,
    /// Time of the document in milliseconds since 1970; of a replay, that of its last packet.
    pub at: u64,
    /// Seconds since the start; of a replay, from its first packet to its last.
    pub seconds: u64,
    /// What somebody should look at, in words.
    pub troubles: Vec<String>,
    /// Sums since the start.
    pub totals: Totals,
    /// Bans in force.
    pub active_bans: u64,
    /// The interfaces; of a replay none.
    pub interfaces: Vec<Interface>,
    /// What was lost, by place; places where nothing was are there, too.
    pub losses: Vec<Loss>,
    /// Techniques that saw something.
    pub techniques: Vec<TechniqueCounts>,
    /// Hosts with evidence, of a daemon at most [`SHOWN`]: those that were to be banned first, then the newest.
    pub hosts: Vec<Host>,
    /// Hosts that are remembered.
    pub hosts_known: u64,
    /// Bans, of a daemon at most [`SHOWN`], the newest first.
    pub bans: Vec<Ban>,
    /// Length of a step of the history in milliseconds.
    pub step: u64,
    /// What happened over time, oldest first; steps in which nothing did may be missing.
    pub history: Vec<Sample>,
}

/// Hosts and bans of a running daemon's document at most; of a replay four times as many are shown.
pub const SHOWN: usize = 256;

/// One interface.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Interface {
    /// Its name.
    pub name: String,
    /// `running`, or why it is not.
    pub state: String,
    /// Frames that the kernel captured, dropped ones included.
    pub received: u64,
    /// Frames dropped by the kernel.
    pub dropped: u64,
    /// Frames dropped by the interface or its driver.
    pub if_dropped: u64,
}

/// What was lost in one place.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Loss {
    /// Where, and of what.
    pub place: String,
    /// How many.
    pub count: u64,
}

/// What one technique saw.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TechniqueCounts {
    /// Its name.
    pub name: String,
    /// Pieces of weak evidence.
    pub weak: u64,
    /// Pieces of strong evidence.
    pub strong: u64,
    /// Pieces of conclusive evidence.
    pub conclusive: u64,
    /// Flows that were judged BitTorrent by it.
    pub flows: u64,
    /// New bans that it decided.
    pub bans: u64,
}

impl TechniqueCounts {
    /// Of every technique that saw something; `flows` and `bans` give the numbers of verdicts.
    pub fn all(
        counters: &Counters,
        flows: impl Fn(Technique) -> u64,
        bans: impl Fn(Technique) -> u64,
    ) -> Vec<Self> {
        let all = Technique::ALL.iter().map(|&technique| Self {
            name: technique.name().to_owned(),
            weak: counters.evidence(technique, Confidence::Weak),
            strong: counters.evidence(technique, Confidence::Strong),
            conclusive: counters.evidence(technique, Confidence::Conclusive),
            flows: flows(technique),
            bans: bans(technique),
        });
        all.filter(|counts| counts.weak + counts.strong + counts.conclusive + counts.flows + counts.bans > 0)
            .collect()
    }
}

/// One ban in force; of a replay, one that would be made.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ban {
    /// The host or network.
    pub address: String,
    /// When it began, RFC 3339.
    pub since: String,
    /// Seconds until it ends.
    pub remaining_seconds: u64,
    /// Name of the technique that decided, `by-hand` or `unknown`.
    pub technique: String,
    /// Why, in words.
    pub reason: String,
    /// The program that the host runs, where it is known.
    pub client: Option<String>,
    /// Flows of the host that were judged BitTorrent since.
    pub flows: u32,
    /// How often it was banned within the memory of `ban_escalation`, this time included.
    pub times: u32,
}

impl Ban {
    /// A ban at a time of the manager's clock.
    pub fn new(element: Element, record: &Record, now: Duration) -> Self {
        Self {
            address: element.to_string(),
            since: rfc3339(record.since),
            remaining_seconds: record.deadline.saturating_sub(now).as_secs(),
            technique: record.reason.technique.clone(),
            reason: record.reason.text.clone(),
            client: record.reason.client.clone(),
            flows: record.flows,
            times: record.times,
        }
    }

    /// The newest [`SHOWN`] of many, the newest first.
    pub fn newest<'a>(bans: impl Iterator<Item = (Element, &'a Record)>, now: Duration) -> Vec<Self> {
        let mut newest: Vec<_> = Vec::with_capacity(2 * SHOWN);
        let shorten = |newest: &mut Vec<(Element, &Record)>| {
            newest.sort_by_key(|(element, record)| std::cmp::Reverse((record.since, *element)));
            newest.truncate(SHOWN);
        };
        for ban in bans {
            if newest.len() == 2 * SHOWN {
                shorten(&mut newest);
            }
            newest.push(ban);
        }
        shorten(&mut newest);
        let shown = newest.iter();
        shown
            .map(|(element, record)| Self::new(*element, record, now))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use btblocker_detectors::Timestamp;

    use super::*;
    use crate::ban::Reason;

    #[test]
    fn of_many_bans_the_newest_are_shown() {
        let record = |number: u64| Record {
            reason: Arc::new(Reason::by_hand()),
            since: Timestamp((number * 7_919 % 3_000) * 1_000_000),
            deadline: Duration::from_secs(60),
            duration: Duration::from_secs(60),
            flows: 1,
            times: 1,
        };
        let records: Vec<(Element, Record)> = (0..3_000)
            .map(|number| {
                let address = std::net::Ipv4Addr::from_bits(0x0a00_0000 + number);
                (Element::host(address.into()), record(number.into()))
            })
            .collect();
        let all = records.iter().map(|(element, record)| (*element, record));
        let shown = Ban::newest(all, Duration::from_secs(50));
        let expected: Vec<String> = (0..SHOWN as u64)
            .map(|back| rfc3339(Timestamp((2_999 - back) * 1_000_000)))
            .collect();
        let since: Vec<&str> = shown.iter().map(|ban| ban.since.as_str()).collect();
        assert_eq!(since, expected);
        assert_eq!(shown[0].remaining_seconds, 10);
    }

    #[test]
    fn only_techniques_that_saw_something_are_listed() {
        let mut counters = Counters::default();
        counters.see(Technique::Utp, Confidence::Strong);
        let flows = |technique| u64::from(technique == Technique::Dht);
        let listed = TechniqueCounts::all(&counters, flows, |_| 0);
        let names: Vec<(&str, u64, u64)> = listed
            .iter()
            .map(|counts| (counts.name.as_str(), counts.strong, counts.flows))
            .collect();
        assert_eq!(names, [("utp", 1, 0), ("dht", 0, 1)]);
    }
}
