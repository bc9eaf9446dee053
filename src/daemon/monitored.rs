//! Hosts that would be banned for what was seen on interfaces that are only monitored, while others lead to bans.

use std::collections::HashMap;
use std::time::Duration;

use crate::ban::Element;

/// Who was told of, and until when that is enough. When too many are remembered, all are forgotten: then hosts are
/// told of once more, and nothing is lost.
#[derive(Debug)]
pub(super) struct Monitored {
    told: HashMap<Element, Duration>,
    most: usize,
}

impl Monitored {
    /// Remembers at most `most` hosts.
    pub(super) fn new(most: usize) -> Self {
        Self {
            told: HashMap::new(),
            most,
        }
    }

    /// Whether the host is to be told of: not again while its ban would last.
    pub(super) fn is_news(&mut self, host: Element, duration: Duration, now: Duration) -> bool {
        if self.told.get(&host).is_some_and(|until| *until > now) {
            return false;
        }
        if self.told.len() >= self.most {
            self.told.retain(|_, until| *until > now);
        }
        if self.told.len() >= self.most {
            self.told.clear();
        }
        self.told.insert(host, now + duration);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_told_of_once_while_its_ban_would_last() {
        let mut monitored = Monitored::new(2);
        for (host, now, news) in [
            ("10.0.0.1", 0, true),
            ("10.0.0.1", 9, false),
            ("10.0.0.1", 10, true),
            ("10.0.0.2", 11, true),
            // Too many: everybody is news again.
            ("10.0.0.3", 12, true),
            ("10.0.0.3", 13, false),
            ("10.0.0.2", 14, true),
        ] {
            let found = monitored.is_news(
                host.parse().unwrap(),
                Duration::from_secs(10),
                Duration::from_secs(now),
            );
            assert_eq!(found, news, "{host} at {now}");
            assert!(monitored.told.len() <= 2);
        }
    }
}
