//! Lines that would be written again and again about one host.

use std::collections::HashMap;
use std::time::{Duration, Instant};

/// How long alike lines about one host are held back after one was written.
const QUIET: Duration = Duration::from_secs(60);
/// Hosts and places that are remembered at most; when there are more, the oldest half is forgotten.
const REMEMBERED: usize = 8_192;

/// When lines were written, by host and by the place in the code that writes them.
#[derive(Debug, Default)]
pub struct Repeats(HashMap<(String, u32), (Instant, u64)>);

impl Repeats {
    /// Whether a line may be written: then how many alike were held back since the last one.
    pub fn admit(&mut self, host: String, place: u32, now: Instant) -> Option<u64> {
        if self.0.len() >= REMEMBERED {
            let mut times: Vec<Instant> = self.0.values().map(|(written, _)| *written).collect();
            let (_, middle, _) = times.select_nth_unstable(REMEMBERED / 2);
            let middle = *middle;
            self.0.retain(|_, (written, _)| *written > middle);
        }
        match self.0.entry((host, place)) {
            std::collections::hash_map::Entry::Vacant(new) => {
                new.insert((now, 0));
                Some(0)
            }
            std::collections::hash_map::Entry::Occupied(mut known) => {
                let (written, held_back) = known.get_mut();
                if now.saturating_duration_since(*written) < QUIET {
                    *held_back += 1;
                    return None;
                }
                *written = now;
                Some(std::mem::take(held_back))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_written_about_once_in_a_while() {
        let (mut repeats, start) = (Repeats::default(), Instant::now());
        for (second, host, place, admitted) in [
            (0, "10.0.0.1", 7, Some(0)),
            (1, "10.0.0.1", 7, None),
            (1, "10.0.0.1", 8, Some(0)),
            (1, "10.0.0.2", 7, Some(0)),
            (59, "10.0.0.1", 7, None),
            (60, "10.0.0.1", 7, Some(2)),
            (61, "10.0.0.1", 7, None),
        ] {
            let now = start + Duration::from_secs(second);
            assert_eq!(
                repeats.admit(host.to_owned(), place, now),
                admitted,
                "{host} at {second}"
            );
        }
    }

    #[test]
    fn no_more_hosts_than_a_bound_are_remembered() {
        let (mut repeats, start) = (Repeats::default(), Instant::now());
        for number in 0..20_000_u32 {
            let now = start + Duration::from_millis(number.into());
            assert_eq!(repeats.admit(number.to_string(), 1, now), Some(0));
            assert!(repeats.0.len() <= REMEMBERED);
        }
    }
}
