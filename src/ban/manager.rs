//! The ban manager: a cache in front of the kernel set.
//!
//! It knows what is banned until when, so that a repeated ban costs no system call; it renews a ban while
//! evidence continues, lifts it, and puts back what somebody else removed from the kernel. Expiry itself is
//! the kernel's. Time is an argument: a monotonic duration since some fixed start.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::Duration;

use foldhash::fast::RandomState;

use super::{BackendError, Change, Element, Exemption, Exemptions, SetBackend, Timeout};

/// What the ban manager decides by.
#[derive(Clone, Copy, Debug)]
pub struct BanPolicy {
    /// How long a host is banned.
    pub duration: Duration,
    /// Most hosts that are banned at once; further hosts are refused and counted.
    pub max_bans: usize,
}

/// What became of a request to ban.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The host is newly banned.
    Banned,
    /// The host was banned, and its clock starts anew.
    Renewed,
    /// The host is banned and its ban has long to run: nothing was done.
    Cached,
    /// The host is never banned.
    Exempt(Exemption),
    /// So many hosts are banned that no more are taken.
    Full,
}

/// Bans in force, and the kernel set that holds them.
pub struct Manager {
    backend: Box<dyn SetBackend>,
    exemptions: Exemptions,
    policy: BanPolicy,
    /// Deadline of each ban.
    active: HashMap<Element, Duration, RandomState>,
    /// Changes that the kernel has not taken yet.
    pending: Vec<Change>,
}

impl Manager {
    /// A manager with no bans in force.
    pub fn new(backend: Box<dyn SetBackend>, exemptions: Exemptions, policy: BanPolicy) -> Self {
        Self {
            backend,
            exemptions,
            policy,
            active: HashMap::default(),
            pending: Vec::new(),
        }
    }

    /// The kernel set.
    pub fn backend(&mut self) -> &mut dyn SetBackend {
        self.backend.as_mut()
    }

    /// Whom this manager never bans.
    pub fn exemptions(&self) -> &Exemptions {
        &self.exemptions
    }

    /// Replaces the exemptions and lifts the bans that they forbid; returns the lifted ones.
    pub fn exempt(&mut self, exemptions: Exemptions) -> Vec<Element> {
        self.exemptions = exemptions;
        let forbidden = |element: &Element| self.exemptions.of_element(*element).is_some();
        let lifted: Vec<Element> = self.active.keys().copied().filter(forbidden).collect();
        for element in &lifted {
            self.active.remove(element);
            self.pending.push(Change::Unban(*element));
        }
        lifted
    }

    /// Bans a host. The change waits for [`Manager::flush`].
    pub fn ban(&mut self, address: IpAddr, now: Duration) -> Outcome {
        if let Some(why) = self.exemptions.of(address) {
            return Outcome::Exempt(why);
        }
        let element = Element::host(address);
        let deadline = now + self.policy.duration;
        let running = self
            .active
            .get(&element)
            .map_or(Duration::ZERO, |until| until.saturating_sub(now));
        if running > self.policy.duration / 2 {
            return Outcome::Cached;
        }
        if running.is_zero()
            && self.active.len() >= self.policy.max_bans
            && !self.active.contains_key(&element)
        {
            self.expire(now);
            if self.active.len() >= self.policy.max_bans {
                return Outcome::Full;
            }
        }
        self.active.insert(element, deadline);
        self.pending
            .push(Change::Ban(element, Timeout::from_duration(self.policy.duration)));
        if running.is_zero() {
            Outcome::Banned
        } else {
            Outcome::Renewed
        }
    }

    /// Lifts a ban; whether there was one. The change waits for [`Manager::flush`].
    pub fn unban(&mut self, element: Element) -> bool {
        let known = self.active.remove(&element).is_some();
        self.pending.push(Change::Unban(element));
        known
    }

    /// Hands all waiting changes to the kernel. What it does not take stays waiting.
    ///
    /// # Errors
    /// The backend's, unchanged.
    pub fn flush(&mut self) -> Result<(), BackendError> {
        if self.pending.is_empty() {
            return Ok(());
        }
        self.backend.apply(&self.pending)?;
        self.pending.clear();
        Ok(())
    }

    /// Takes over what the kernel holds already, from an earlier run.
    ///
    /// # Errors
    /// The backend's, unchanged.
    pub fn adopt(&mut self, now: Duration) -> Result<usize, BackendError> {
        let held = self.backend.list()?;
        for entry in &held {
            let remaining = entry.remaining.unwrap_or(self.policy.duration);
            self.active.insert(entry.element, now + remaining);
        }
        Ok(held.len())
    }

    /// Compares what should be banned with what the kernel holds, and has the missing bans put back with
    /// their remaining time. Returns how many were missing.
    ///
    /// # Errors
    /// The backend's, unchanged.
    pub fn reconcile(&mut self, now: Duration) -> Result<usize, BackendError> {
        self.expire(now);
        if self.backend.verify().is_err() {
            self.backend.ensure()?;
        }
        let held: HashMap<Element, Option<Duration>> = self
            .backend
            .list()?
            .into_iter()
            .map(|held| (held.element, held.remaining))
            .collect();
        for (element, deadline) in &self.active {
            let waiting = |change: &Change| matches!(change, Change::Ban(waiting, _) if waiting == element);
            if !held.contains_key(element) && !self.pending.iter().any(waiting) {
                let remaining = Timeout::from_duration(deadline.saturating_sub(now));
                self.pending.push(Change::Ban(*element, remaining));
            }
        }
        let missing = self.pending.len();
        self.flush()?;
        Ok(missing)
    }

    /// Forgets bans that the kernel has let run out; returns them.
    pub fn expire(&mut self, now: Duration) -> Vec<Element> {
        let over: Vec<Element> = self
            .active
            .iter()
            .filter(|(_, until)| **until <= now)
            .map(|(element, _)| *element)
            .collect();
        for element in &over {
            self.active.remove(element);
        }
        over
    }

    /// Bans in force with their remaining time.
    pub fn active(&self, now: Duration) -> impl Iterator<Item = (Element, Duration)> {
        self.active
            .iter()
            .map(move |(element, until)| (*element, until.saturating_sub(now)))
    }

    /// Lifts all bans that this manager knows of.
    ///
    /// # Errors
    /// The backend's, unchanged.
    pub fn clear(&mut self) -> Result<usize, BackendError> {
        let all: Vec<Element> = self.active.drain().map(|(element, _)| element).collect();
        self.pending
            .extend(all.iter().map(|element| Change::Unban(*element)));
        self.flush()?;
        Ok(all.len())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;
    use crate::ban::Held;

    /// A kernel set in memory, shared with the test.
    #[derive(Clone, Default)]
    struct FakeSet(Arc<Mutex<FakeState>>);

    #[derive(Default)]
    struct FakeState {
        held: HashMap<Element, u32>,
        calls: usize,
        rule_is_missing: bool,
        refuses: bool,
    }

    impl SetBackend for FakeSet {
        fn name(&self) -> &'static str {
            "fake"
        }
        fn ensure(&mut self) -> Result<(), BackendError> {
            self.0.lock().unwrap().rule_is_missing = false;
            Ok(())
        }
        fn verify(&mut self) -> Result<(), BackendError> {
            match self.0.lock().unwrap().rule_is_missing {
                true => Err(BackendError::Missing {
                    backend: "fake",
                    object: "rule".into(),
                }),
                false => Ok(()),
            }
        }
        fn apply(&mut self, changes: &[Change]) -> Result<(), BackendError> {
            let mut state = self.0.lock().unwrap();
            state.calls += 1;
            if state.refuses {
                return Err(BackendError::Full {
                    backend: "fake",
                    set: "set".into(),
                    max: 0,
                });
            }
            for change in changes {
                match change {
                    Change::Ban(element, timeout) => state.held.insert(*element, timeout.secs()),
                    Change::Unban(element) => state.held.remove(element),
                };
            }
            Ok(())
        }
        fn list(&mut self) -> Result<Vec<Held>, BackendError> {
            let state = self.0.lock().unwrap();
            let held = |(element, secs): (&Element, &u32)| Held {
                element: *element,
                remaining: Some(Duration::from_secs((*secs).into())),
            };
            Ok(state.held.iter().map(held).collect())
        }
        fn teardown(&mut self) -> Result<(), BackendError> {
            self.0.lock().unwrap().held.clear();
            Ok(())
        }
    }

    const HOST: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 8, 0, 7));

    fn secs(secs: u64) -> Duration {
        Duration::from_secs(secs)
    }

    fn manager(max_bans: usize) -> (Manager, FakeSet) {
        let set = FakeSet::default();
        let policy = BanPolicy {
            duration: secs(100),
            max_bans,
        };
        (
            Manager::new(Box::new(set.clone()), Exemptions::default(), policy),
            set,
        )
    }

    #[test]
    fn a_repeated_ban_costs_no_call_until_half_its_time_is_over() {
        let (mut manager, set) = manager(10);
        for (now, outcome, calls) in [
            (0, Outcome::Banned, 1),
            (1, Outcome::Cached, 1),
            (49, Outcome::Cached, 1),
            (50, Outcome::Renewed, 2),
            (99, Outcome::Cached, 2),
            (151, Outcome::Banned, 3),
        ] {
            assert_eq!(manager.ban(HOST, secs(now)), outcome, "at {now}");
            manager.flush().unwrap();
            assert_eq!(set.0.lock().unwrap().calls, calls, "at {now}");
        }
        assert_eq!(set.0.lock().unwrap().held[&Element::host(HOST)], 100);
    }

    #[test]
    fn exempt_hosts_are_not_banned_and_a_new_exemption_lifts_a_ban() {
        let (mut manager, set) = manager(10);
        assert_eq!(
            manager.ban("127.0.0.1".parse().unwrap(), secs(0)),
            Outcome::Exempt(Exemption::Loopback)
        );
        manager.ban(HOST, secs(0));
        manager.flush().unwrap();
        let mut exemptions = Exemptions::default();
        exemptions.add("10.8.0.0/24".parse().unwrap(), Exemption::Allowed);
        assert_eq!(manager.exempt(exemptions), [Element::host(HOST)]);
        manager.flush().unwrap();
        assert!(set.0.lock().unwrap().held.is_empty());
        assert_eq!(manager.ban(HOST, secs(1)), Outcome::Exempt(Exemption::Allowed));
    }

    #[test]
    fn no_more_than_the_maximum_is_banned_and_expiry_makes_room() {
        let (mut manager, _) = manager(2);
        let host = |last| IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, last));
        assert_eq!(manager.ban(host(1), secs(0)), Outcome::Banned);
        assert_eq!(manager.ban(host(2), secs(10)), Outcome::Banned);
        assert_eq!(manager.ban(host(3), secs(20)), Outcome::Full);
        assert_eq!(manager.ban(host(3), secs(101)), Outcome::Banned);
    }

    #[test]
    fn what_others_removed_comes_back_with_its_remaining_time() {
        let (mut manager, set) = manager(10);
        manager.ban(HOST, secs(0));
        manager.flush().unwrap();
        assert_eq!(manager.reconcile(secs(1)).unwrap(), 0);
        *set.0.lock().unwrap() = FakeState {
            rule_is_missing: true,
            ..FakeState::default()
        };
        assert_eq!(manager.reconcile(secs(30)).unwrap(), 1);
        let state = set.0.lock().unwrap();
        assert_eq!(
            (state.held[&Element::host(HOST)], state.rule_is_missing),
            (70, false)
        );
    }

    #[test]
    fn changes_that_the_kernel_refused_are_tried_again() {
        let (mut manager, set) = manager(10);
        manager.ban(HOST, secs(0));
        set.0.lock().unwrap().refuses = true;
        assert!(manager.flush().is_err());
        set.0.lock().unwrap().refuses = false;
        manager.flush().unwrap();
        assert!(set.0.lock().unwrap().held.contains_key(&Element::host(HOST)));
    }

    #[test]
    fn bans_of_an_earlier_run_are_taken_over() {
        let (mut manager, set) = manager(10);
        set.0.lock().unwrap().held.insert(Element::host(HOST), 80);
        assert_eq!(manager.adopt(secs(0)).unwrap(), 1);
        assert_eq!(manager.ban(HOST, secs(1)), Outcome::Cached);
        assert_eq!(
            manager.active(secs(20)).collect::<Vec<_>>(),
            [(Element::host(HOST), secs(60))]
        );
        assert!(manager.unban(Element::host(HOST)));
        manager.flush().unwrap();
        assert!(set.0.lock().unwrap().held.is_empty());
        assert_eq!(manager.ban(HOST, secs(2)), Outcome::Banned);
    }
}
