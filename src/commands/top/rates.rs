//! What happens in a second, between two overviews.

use crate::overview::Overview;

/// What happens in a second.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Rates {
    pub(super) packets: f64,
    pub(super) bits: f64,
    pub(super) flows: f64,
    /// Packets of each interface, in the overview's order.
    pub(super) interfaces: Vec<f64>,
}

impl Rates {
    /// `None` when no time lies between the two, or they are not of one run.
    pub(super) fn between(earlier: &Overview, later: &Overview) -> Option<Self> {
        let seconds = later.at.checked_sub(earlier.at).filter(|millis| *millis > 0)? as f64 / 1_000.0;
        let rate = |earlier: u64, later: u64| Some(later.checked_sub(earlier)? as f64 / seconds);
        let before = |name: &str| earlier.interfaces.iter().find(|interface| interface.name == name);
        Some(Self {
            packets: rate(earlier.totals.packets, later.totals.packets)?,
            bits: rate(earlier.totals.bytes, later.totals.bytes)? * 8.0,
            flows: rate(earlier.totals.flows, later.totals.flows)?,
            interfaces: later
                .interfaces
                .iter()
                .map(|now| rate(before(&now.name)?.received, now.received))
                .map(Option::unwrap_or_default)
                .collect(),
        })
    }
}
