//! What the service manager is told: that the watch has begun, that the judge is alive, and what goes on.
//!
//! Ready means that a packet which proves BitTorrent leads to a ban that drops: the caller has verified the drop
//! rules, and at least one interface is captured. Until then the start is extended for as long as the judge's
//! loop turns, so an interface that comes late is no failed start, but a start that hangs is. Afterwards each
//! turn of that loop feeds the watchdog.
//!
//! Deliberately not done: no thread of its own, since its signs of life would say nothing about the judge.
//! Without a service manager nothing is sent.

use std::time::Duration;

use log::debug;
use sd_notify::NotifyState;

/// How long a start may stay silent once the judge's loop turns.
const PATIENCE: Duration = Duration::from_secs(30);

/// The service manager, and what it knows.
#[derive(Debug)]
pub(super) struct ServiceManager {
    there: bool,
    watchdog: bool,
    ready: bool,
    status: String,
}

impl ServiceManager {
    /// The one that the environment names, if any.
    pub(super) fn new() -> Self {
        Self {
            there: std::env::var_os("NOTIFY_SOCKET").is_some(),
            watchdog: sd_notify::watchdog_enabled().is_some(),
            ready: false,
            status: String::new(),
        }
    }

    /// Whether there is one: the program was started as a service, and nobody looks at what it prints.
    pub(super) fn is_there(&self) -> bool {
        self.there
    }

    /// Tells that the judge's loop turns, which interfaces are captured, which are waited for, and how many hosts
    /// are banned.
    pub(super) fn tick(&mut self, captured: &[String], awaited: &[String], bans: usize) {
        send(&self.messages(captured, awaited, bans));
    }

    /// Tells that the end has begun.
    pub(super) fn stopping(&self) {
        send(&[NotifyState::Stopping, NotifyState::Status("stopping")]);
    }

    fn messages(&mut self, captured: &[String], awaited: &[String], bans: usize) -> Vec<NotifyState<'_>> {
        let mut messages = Vec::new();
        let becomes_ready = !self.ready && !captured.is_empty();
        self.ready |= becomes_ready;
        if becomes_ready {
            messages.push(NotifyState::Ready);
        }
        if !self.ready {
            let micros = u32::try_from(PATIENCE.as_micros()).unwrap_or(u32::MAX);
            messages.push(NotifyState::ExtendTimeoutUsec(micros));
        } else if self.watchdog {
            messages.push(NotifyState::Watchdog);
        }
        let status = status(captured, awaited, bans);
        if status != self.status {
            self.status = status;
            messages.push(NotifyState::Status(&self.status));
        }
        messages
    }
}

fn status(captured: &[String], awaited: &[String], bans: usize) -> String {
    let mut parts = Vec::new();
    if !captured.is_empty() {
        parts.push(format!("capturing on {}", captured.join(", ")));
    }
    if !awaited.is_empty() {
        parts.push(format!("waiting for {}", awaited.join(", ")));
    }
    parts.push(format!("{bans} bans"));
    parts.join("; ")
}

fn send(messages: &[NotifyState<'_>]) {
    if messages.is_empty() {
        return;
    }
    if let Err(error) = sd_notify::notify(messages) {
        debug!("the service manager cannot be told: {error}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Messages of each tick, as they are sent.
    #[track_caller]
    fn check(watchdog: bool, ticks: &[(&[&str], &[&str], usize, &str)]) {
        let mut manager = ServiceManager {
            watchdog,
            ..ServiceManager::new()
        };
        for (captured, awaited, bans, expected) in ticks {
            let names = |names: &[&str]| names.iter().map(ToString::to_string).collect::<Vec<_>>();
            let messages = manager.messages(&names(captured), &names(awaited), *bans);
            let sent: Vec<String> = messages.iter().map(ToString::to_string).collect();
            assert_eq!(sent.join("|"), *expected, "{captured:?} {awaited:?}");
        }
    }

    #[test]
    fn ready_is_told_once_and_only_when_an_interface_is_captured() {
        check(
            false,
            &[
                (
                    &[],
                    &["wg0"],
                    0,
                    "EXTEND_TIMEOUT_USEC=30000000|STATUS=waiting for wg0; 0 bans",
                ),
                (&[], &["wg0"], 0, "EXTEND_TIMEOUT_USEC=30000000"),
                (&["wg0"], &[], 0, "READY=1|STATUS=capturing on wg0; 0 bans"),
                (&["wg0"], &[], 0, ""),
                (&[], &["wg0"], 0, "STATUS=waiting for wg0; 0 bans"),
                (&["wg0"], &[], 2, "STATUS=capturing on wg0; 2 bans"),
            ],
        );
    }

    #[test]
    fn one_captured_interface_of_several_is_enough() {
        check(
            false,
            &[(
                &["eth0", "eth1"],
                &["wg0"],
                7,
                "READY=1|STATUS=capturing on eth0, eth1; waiting for wg0; 7 bans",
            )],
        );
    }

    #[test]
    fn every_tick_feeds_the_watchdog_from_readiness_on() {
        check(
            true,
            &[
                (
                    &[],
                    &["a"],
                    0,
                    "EXTEND_TIMEOUT_USEC=30000000|STATUS=waiting for a; 0 bans",
                ),
                (&["a"], &[], 0, "READY=1|WATCHDOG=1|STATUS=capturing on a; 0 bans"),
                (&["a"], &[], 0, "WATCHDOG=1"),
                (&[], &["a"], 0, "WATCHDOG=1|STATUS=waiting for a; 0 bans"),
            ],
        );
    }
}
