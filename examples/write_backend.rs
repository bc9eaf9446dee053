//! A holder of bans of one's own: whatever implements `SetBackend` can stand where ipset, nftables and XDP stand, such
//! as a router that is told over its own interface. This one keeps the bans in memory.
//!
//! Usage: `cargo run --example write_backend`

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use btblocker::ban::{
    BackendError, BanPolicy, Change, Element, Exemptions, Held, Manager, Outcome, Reason, SetBackend,
};
use btblocker_detectors::Timestamp;

/// Elements with the instants at which their bans end.
#[derive(Debug, Default)]
struct InMemory {
    /// `None` until [`SetBackend::ensure`]: the set does not exist.
    set: Option<BTreeMap<Element, Instant>>,
}

impl InMemory {
    const NAME: &str = "in-memory";

    fn set(&mut self) -> Result<&mut BTreeMap<Element, Instant>, BackendError> {
        self.set.as_mut().ok_or_else(|| BackendError::Missing {
            backend: Self::NAME,
            object: "the map".to_owned(),
        })
    }
}

impl SetBackend for InMemory {
    fn name(&self) -> &'static str {
        Self::NAME
    }

    fn ensure(&mut self) -> Result<(), BackendError> {
        self.set.get_or_insert_default();
        Ok(())
    }

    fn verify(&mut self) -> Result<(), BackendError> {
        self.set().map(|_| ())
    }

    /// A ban of somebody who is banned starts the clock anew, and lifting one that is not there is no error: the
    /// manager counts on both.
    fn apply(&mut self, changes: &[Change]) -> Result<(), BackendError> {
        let set = self.set()?;
        for change in changes {
            match *change {
                Change::Ban(element, timeout) => {
                    let length = Duration::from_secs(timeout.secs().into());
                    set.insert(element, Instant::now() + length);
                }
                Change::Unban(element) => {
                    set.remove(&element);
                }
            }
        }
        Ok(())
    }

    /// Bans end by themselves, as they do in a kernel set.
    fn list(&mut self) -> Result<Vec<Held>, BackendError> {
        let (now, set) = (Instant::now(), self.set()?);
        set.retain(|_, end| *end > now);
        let held = set.iter().map(|(element, end)| Held {
            element: *element,
            remaining: Some(*end - now),
        });
        Ok(held.collect())
    }

    /// A map in memory answers at once, so one step compares everything.
    fn compare(&mut self, expected: &mut Vec<Element>) -> Result<Vec<Element>, BackendError> {
        let held: BTreeSet<Element> = self.list()?.iter().map(|held| held.element).collect();
        expected.retain(|element| !held.contains(element));
        Ok(std::mem::take(expected))
    }

    fn teardown(&mut self) -> Result<(), BackendError> {
        self.set = None;
        Ok(())
    }
}

/// A ban manager on the backend, as the daemon makes one on a kernel set.
fn manager() -> Result<Manager, BackendError> {
    let mut backend = InMemory::default();
    backend.ensure()?;
    backend.verify()?;
    let policy = BanPolicy {
        duration: Duration::from_secs(600),
        max_bans: 1_000,
        max_bans_per_minute: 0,
        escalation: Duration::ZERO,
        ipv6_prefix: 128,
        setup: true,
    };
    Ok(Manager::new(Box::new(backend), Exemptions::default(), policy))
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut manager = manager()?;
    let (host, now) = ("192.0.2.7".parse()?, Duration::ZERO);
    let outcome = manager.ban(host, now, Timestamp(0), Reason::by_hand);
    manager.flush(now)?;
    println!("{host}: {outcome:?}; held: {:?}", manager.backend().list()?);
    assert_eq!(outcome, Outcome::Banned);
    Ok(())
}

#[cfg(test)]
mod tests {
    use btblocker::ban::Timeout;

    use super::*;

    #[test]
    fn bans_are_held_until_they_are_lifted() {
        let mut manager = manager().unwrap();
        let host = "2001:db8::7".parse().unwrap();
        manager.ban(host, Duration::ZERO, Timestamp(0), Reason::by_hand);
        assert_eq!(
            manager.backend().list().unwrap(),
            [],
            "nothing is written before the flush"
        );
        manager.flush(Duration::ZERO).unwrap();
        let held = manager.backend().list().unwrap();
        assert_eq!(held[0].element, Element::host(host));
        assert!(held[0].remaining.unwrap() > Duration::from_secs(590));
        assert!(manager.unban(Element::host(host)));
        manager.flush(Duration::ZERO).unwrap();
        assert_eq!(manager.backend().list().unwrap(), []);
    }

    #[test]
    fn the_contract_of_kernel_sets_holds() {
        let mut backend = InMemory::default();
        let host = Element::host("192.0.2.7".parse().unwrap());
        let ban = Change::Ban(host, Timeout::from_duration(Duration::from_secs(60)));
        assert!(matches!(backend.apply(&[ban]), Err(BackendError::Missing { .. })));
        backend.ensure().unwrap();
        backend.apply(&[Change::Unban(host), ban, ban]).unwrap();
        backend.ensure().unwrap();
        assert_eq!(backend.list().unwrap().len(), 1);
        backend.teardown().unwrap();
        assert!(backend.verify().is_err());
    }
}
