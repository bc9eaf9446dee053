//! What happened over time, in a bounded number of samples.

use std::collections::VecDeque;

use btblocker_detectors::Timestamp;
use serde::{Deserialize, Serialize};

/// Sums since the start of a run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Totals {
    /// Frames that reached the recognition.
    pub packets: u64,
    /// Bytes of these frames on the wire.
    pub bytes: u64,
    /// Flows that began.
    pub flows: u64,
    /// Flows that were judged BitTorrent.
    pub bittorrent: u64,
    /// New bans.
    pub bans: u64,
    /// Frames that were lost on their way to the recognition.
    pub lost: u64,
}

impl Totals {
    /// What was added since `earlier`.
    fn since(&self, earlier: &Self) -> Self {
        Self {
            packets: self.packets.saturating_sub(earlier.packets),
            bytes: self.bytes.saturating_sub(earlier.bytes),
            flows: self.flows.saturating_sub(earlier.flows),
            bittorrent: self.bittorrent.saturating_sub(earlier.bittorrent),
            bans: self.bans.saturating_sub(earlier.bans),
            lost: self.lost.saturating_sub(earlier.lost),
        }
    }

    fn add(&mut self, more: &Self) {
        self.packets += more.packets;
        self.bytes += more.bytes;
        self.flows += more.flows;
        self.bittorrent += more.bittorrent;
        self.bans += more.bans;
        self.lost += more.lost;
    }
}

/// What happened in one step of time. Written as a list: start, packets, bytes, flows, BitTorrent flows, new bans,
/// lost frames, bans in force.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "[u64; 8]", into = "[u64; 8]")]
pub struct Sample {
    /// Start of the step in milliseconds since 1970, a multiple of its length.
    pub at: u64,
    /// What was added within it.
    pub added: Totals,
    /// Bans in force at its end.
    pub active: u64,
}

impl From<[u64; 8]> for Sample {
    fn from([at, packets, bytes, flows, bittorrent, bans, lost, active]: [u64; 8]) -> Self {
        let added = Totals {
            packets,
            bytes,
            flows,
            bittorrent,
            bans,
            lost,
        };
        Self { at, added, active }
    }
}

impl From<Sample> for [u64; 8] {
    fn from(Sample { at, added, active }: Sample) -> Self {
        let Totals {
            packets,
            bytes,
            flows,
            bittorrent,
            bans,
            lost,
        } = added;
        [at, packets, bytes, flows, bittorrent, bans, lost, active]
    }
}

/// How far a clock may go back, in milliseconds, and samples that lie ahead stay.
const SET_BACK: u64 = 60_000;

/// What gives way when there are as many samples as are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Full {
    /// The oldest sample.
    Oldest,
    /// The resolution: the step doubles, and samples that fall together become one.
    Resolution,
}

/// Samples of one run, oldest first. Steps in which nothing was recorded have none.
#[derive(Clone, Debug)]
pub struct History {
    /// In milliseconds.
    step: u64,
    most: usize,
    full: Full,
    samples: VecDeque<Sample>,
    last: Totals,
}

impl History {
    /// The last four hours of a run that goes on, in steps of 10 s: 1,440 samples of 64 bytes.
    pub const fn recent() -> Self {
        Self::new(10_000, 1_440, Full::Oldest)
    }

    /// All of a run of unknown length in at most 720 samples, in steps of 100 ms or, where that is not enough, of
    /// that times a power of two.
    pub const fn whole() -> Self {
        Self::new(100, 720, Full::Resolution)
    }

    const fn new(step: u64, most: usize, full: Full) -> Self {
        Self {
            step,
            most,
            full,
            samples: VecDeque::new(),
            last: Totals {
                packets: 0,
                bytes: 0,
                flows: 0,
                bittorrent: 0,
                bans: 0,
                lost: 0,
            },
        }
    }

    /// Length of a step in milliseconds.
    pub const fn step(&self) -> u64 {
        self.step
    }

    /// The samples, oldest first.
    pub fn samples(&self) -> impl ExactSizeIterator<Item = &Sample> {
        self.samples.iter()
    }

    /// Records the sums so far and the bans in force at this time. Times before the latest step count into it, unless the
    /// clock of a run that goes on was set back: then what lies ahead gives way, which would hide what comes.
    pub fn record(&mut self, at: Timestamp, totals: Totals, active: u64) {
        let added = totals.since(&self.last);
        self.last = totals;
        let millis = at.0 / 1_000;
        if self.full == Full::Oldest {
            let latest = millis.saturating_add(SET_BACK);
            while self.samples.back().is_some_and(|back| back.at > latest) {
                self.samples.pop_back();
            }
        }
        let is_new = |history: &Self| {
            let start = millis - millis % history.step;
            history.samples.back().is_none_or(|back| start > back.at)
        };
        while is_new(self) && self.samples.len() >= self.most {
            match self.full {
                Full::Oldest => drop(self.samples.pop_front()),
                Full::Resolution => self.coarsen(),
            }
        }
        if is_new(self) {
            let at = millis - millis % self.step;
            self.samples.push_back(Sample {
                at,
                ..Sample::default()
            });
        }
        if let Some(back) = self.samples.back_mut() {
            back.added.add(&added);
            back.active = active;
        }
    }

    /// Doubles the step.
    fn coarsen(&mut self) {
        self.step = self.step.saturating_mul(2);
        let mut coarse: VecDeque<Sample> = VecDeque::with_capacity(self.samples.len());
        for sample in &self.samples {
            let at = sample.at - sample.at % self.step;
            match coarse.back_mut().filter(|back| back.at == at) {
                Some(back) => {
                    back.added.add(&sample.added);
                    back.active = sample.active;
                }
                None => coarse.push_back(Sample { at, ..*sample }),
            }
        }
        self.samples = coarse;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packets(packets: u64) -> Totals {
        Totals {
            packets,
            ..Totals::default()
        }
    }

    fn rows(history: &History) -> Vec<(u64, u64, u64)> {
        let samples = history.samples();
        samples
            .map(|sample| (sample.at, sample.added.packets, sample.active))
            .collect()
    }

    #[test]
    fn sums_become_differences_in_steps() {
        let mut history = History::recent();
        for (seconds, sum, active) in [(13, 5, 0), (14, 7, 1), (20, 7, 1), (45, 9, 0), (30, 10, 2)] {
            history.record(Timestamp(seconds * 1_000_000), packets(sum), active);
        }
        assert_eq!(rows(&history), [(10_000, 7, 1), (20_000, 0, 1), (40_000, 3, 2)]);
    }

    #[test]
    fn a_clock_that_is_set_back_hides_nothing() {
        let mut history = History::recent();
        let day = 86_400;
        for (seconds, sum) in [(10, 1), (20, 2), (20 + day, 3), (30 + day, 4), (30, 5), (40, 6)] {
            history.record(Timestamp(seconds * 1_000_000), packets(sum), 0);
        }
        assert_eq!(
            rows(&history),
            [(10_000, 1, 0), (20_000, 1, 0), (30_000, 1, 0), (40_000, 1, 0)]
        );
    }

    #[test]
    fn a_run_that_goes_on_forgets_the_oldest() {
        let mut history = History::recent();
        for turn in 0..3_000 {
            history.record(Timestamp(turn * 10_000_000), packets(turn), 0);
        }
        assert_eq!(history.samples().len(), 1_440);
        assert_eq!(rows(&history).last(), Some(&(29_990_000, 1, 0)));
        assert_eq!(rows(&history)[0].0, 15_600_000);
    }

    #[test]
    fn a_whole_run_loses_resolution_but_no_packet() {
        let mut history = History::whole();
        let start = 1_790_000_000_000_000;
        for turn in 1..=100_000 {
            history.record(Timestamp(start + turn * 70_000), packets(turn), turn);
        }
        assert!(history.samples().len() <= 720, "{}", history.samples().len());
        assert!(history.samples().len() > 300, "{}", history.samples().len());
        let sum: u64 = history.samples().map(|sample| sample.added.packets).sum();
        assert_eq!((sum, rows(&history).last().unwrap().2), (100_000, 100_000));
        assert!(
            rows(&history)
                .windows(2)
                .all(|pair| pair[1].0 >= pair[0].0 + history.step())
        );
        // A time out of all bounds costs resolution only.
        history.record(Timestamp(u64::MAX), packets(100_001), 0);
        let sum: u64 = history.samples().map(|sample| sample.added.packets).sum();
        assert_eq!(sum, 100_001);
    }

    #[test]
    fn samples_are_written_as_lists() {
        let sample = Sample::from([1, 2, 3, 4, 5, 6, 7, 8]);
        let text = serde_json::to_string(&sample).unwrap();
        assert_eq!(text, "[1,2,3,4,5,6,7,8]");
        assert_eq!(serde_json::from_str::<Sample>(&text).unwrap(), sample);
    }
}
