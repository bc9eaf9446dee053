//! The ban manager against a model that does everything the slow and obvious way.

use std::collections::BTreeMap;

use btblocker_detectors::Timestamp;
use proptest::prelude::*;

use super::manager_tests::{FakeSet, POLICY, host, reason, secs};
use super::*;

const HOSTS: u8 = 6;

#[derive(Clone, Debug)]
enum Step {
    Ban(u8),
    BanByHand(u8, u64),
    Unban(u8),
    Wait(u64),
    Allow(u8),
    AllowNobody,
    Reconcile,
    Restart,
    OthersDelete(u8),
    OthersFlush,
    KernelRefuses(bool),
    KernelRefusesOne(Option<u8>),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (0..HOSTS).prop_map(Step::Ban),
        1 => (0..HOSTS, 1..300_u64).prop_map(|(number, time)| Step::BanByHand(number, time)),
        2 => (0..HOSTS).prop_map(Step::Unban),
        6 => (1..80_u64).prop_map(Step::Wait),
        1 => (0..HOSTS).prop_map(Step::Allow),
        1 => Just(Step::AllowNobody),
        3 => Just(Step::Reconcile),
        1 => Just(Step::Restart),
        1 => (0..HOSTS).prop_map(Step::OthersDelete),
        1 => Just(Step::OthersFlush),
        1 => any::<bool>().prop_map(Step::KernelRefuses),
        1 => proptest::option::of(0..HOSTS).prop_map(Step::KernelRefusesOne),
    ]
}

/// One ban of the model: its end, its length, and the how manieth it is.
#[derive(Clone, Copy, Debug)]
struct Banned {
    end: u64,
    length: u64,
    times: u32,
}

#[derive(Debug)]
struct Model {
    policy: BanPolicy,
    now: u64,
    allowed: Option<u8>,
    banned: BTreeMap<u8, Banned>,
    past: BTreeMap<u8, (u32, u64)>,
}

impl Model {
    /// Moves bans that have run out into the past. The manager does so when it looks.
    fn expire(&mut self) {
        let now = self.now;
        for (number, banned) in &self.banned {
            if banned.end <= now && banned.times > 0 {
                self.past.insert(*number, (banned.times, banned.end));
            }
        }
        self.banned.retain(|_, banned| banned.end > now);
    }

    fn ban(&mut self, number: u8) -> Outcome {
        self.expire();
        if self.allowed == Some(number) {
            return Outcome::Exempt(Exemption::Allowed);
        }
        if let Some(banned) = self.banned.get_mut(&number) {
            if 2 * (banned.end - self.now) > banned.length {
                return Outcome::Cached;
            }
            banned.end = self.now + banned.length;
            return Outcome::Renewed;
        }
        if self.banned.len() >= self.policy.max_bans {
            return Outcome::Full;
        }
        let memory = self.policy.escalation.as_secs();
        let before = match self.past.get(&number) {
            Some((times, end)) if memory > 0 && end + memory > self.now => *times,
            _ => 0,
        };
        let length = (0..before)
            .fold(self.policy.duration.as_secs(), |length, _| length * 2)
            .min(Timeout::MAX_SECS.into());
        let (end, times) = (self.now + length, before + 1);
        self.banned.insert(number, Banned { end, length, times });
        Outcome::Banned
    }

    fn ban_by_hand(&mut self, number: u8, length: u64) -> Outcome {
        if self.allowed == Some(number) {
            return Outcome::Exempt(Exemption::Allowed);
        }
        let known = self.banned.get(&number).copied();
        if known.is_none() {
            self.expire();
            if self.banned.len() >= self.policy.max_bans {
                return Outcome::Full;
            }
        }
        let (end, times) = (self.now + length, known.map_or(0, |known| known.times));
        self.banned.insert(number, Banned { end, length, times });
        known.map_or(Outcome::Banned, |_| Outcome::Renewed)
    }
}

fn element(number: u8) -> Element {
    Element::host(host(number))
}

fn exemptions(allowed: Option<u8>) -> Exemptions {
    let mut exemptions = Exemptions::default();
    if let Some(number) = allowed {
        exemptions.add(element(number), Exemption::Allowed);
    }
    exemptions
}

/// Runs the steps on both, and compares outcomes, bans and kernel.
fn check(policy: BanPolicy, steps: &[Step]) -> Result<(), TestCaseError> {
    let set = FakeSet::default();
    let fresh = |allowed: Option<u8>| Manager::new(Box::new(set.clone()), exemptions(allowed), policy);
    let mut manager = fresh(None);
    let mut model = Model {
        policy,
        now: 0,
        allowed: None,
        banned: BTreeMap::new(),
        past: BTreeMap::new(),
    };
    for step in steps {
        let now = secs(model.now);
        match *step {
            Step::Ban(number) => {
                manager.expire(now);
                let outcome = manager.ban(host(number), now, Timestamp(0), reason);
                prop_assert_eq!(outcome, model.ban(number), "{:?} at {:?}", step, now);
            }
            Step::BanByHand(number, length) => {
                manager.expire(now);
                model.expire();
                let outcome = manager.ban_by_hand(element(number), secs(length), now, Timestamp(0));
                prop_assert_eq!(outcome, model.ban_by_hand(number, length), "{:?}", step);
            }
            Step::Unban(number) => {
                manager.expire(now);
                model.expire();
                model.past.remove(&number);
                let known = model.banned.remove(&number).is_some();
                prop_assert_eq!(manager.unban(element(number)), known);
            }
            Step::Wait(time) => {
                model.now += time;
                set.state().now = secs(model.now);
            }
            Step::Allow(_) | Step::AllowNobody => {
                model.allowed = match step {
                    Step::Allow(number) => Some(*number),
                    _ => None,
                };
                let lifted = manager.exempt(exemptions(model.allowed));
                let known = model.allowed.and_then(|number| model.banned.remove(&number));
                prop_assert_eq!(lifted.len(), usize::from(known.is_some()));
                if let Some(number) = model.allowed.filter(|_| known.is_some()) {
                    model.past.remove(&number);
                }
            }
            Step::Reconcile => drop(manager.reconcile(now)),
            Step::Restart => {
                manager.expire(now);
                model.expire();
                let saved: Vec<(Element, Record)> = manager
                    .active()
                    .map(|(element, record)| (element, record.clone()))
                    .collect();
                let past: Vec<(Element, Past)> = manager.past(now).collect();
                manager = fresh(model.allowed);
                // A restart that the kernel refuses would end the program: it is tried until it works.
                {
                    let mut state = set.state();
                    (state.refuses_all, state.refuses, state.is_missing) = (false, None, false);
                    // What was lifted while the kernel refused is known to nobody any more.
                    let kept: Vec<Element> = saved.iter().map(|(element, _)| *element).collect();
                    state.held.retain(|element, _| kept.contains(element));
                }
                manager.adopt(now, Timestamp(0)).unwrap();
                manager.restore(saved.clone(), now);
                manager.restore_past(past, now);
                // The kernel may hold an older end of a ban than the manager wanted.
                for (element, record) in manager.active() {
                    let number = (0..HOSTS).find(|number| self::element(*number) == element);
                    if let Some(banned) = number.and_then(|number| model.banned.get_mut(&number)) {
                        prop_assert!(
                            secs(banned.end) >= record.deadline || set.state().held.contains_key(&element)
                        );
                        banned.end = record.deadline.as_secs();
                    }
                }
                prop_assert_eq!(manager.active().len(), saved.len());
            }
            Step::OthersDelete(number) => drop(set.state().held.remove(&element(number))),
            Step::OthersFlush => {
                let mut state = set.state();
                state.is_missing = true;
                state.held.clear();
            }
            Step::KernelRefuses(all) => set.state().refuses_all = all,
            Step::KernelRefusesOne(number) => set.state().refuses = number.map(element),
        }
        let now = secs(model.now);
        drop(manager.flush(now));
        prop_assert!(manager.active().len() <= policy.max_bans);
    }
    // In the end the kernel is well again, and one reconciliation sets everything right.
    let now = secs(model.now);
    {
        let mut state = set.state();
        (state.refuses_all, state.refuses) = (false, None);
    }
    manager.expire(now);
    model.expire();
    prop_assert!(manager.reconcile(now).is_ok());
    let wanted: BTreeMap<Element, u64> = model
        .banned
        .iter()
        .map(|(number, banned)| (element(*number), banned.end))
        .collect();
    let active: BTreeMap<Element, u64> = manager
        .active()
        .map(|(element, record)| (element, record.deadline.as_secs()))
        .collect();
    prop_assert_eq!(&active, &wanted);
    let held: BTreeMap<Element, u64> = set
        .state()
        .held
        .iter()
        .map(|(element, end)| (*element, end.as_secs()))
        .collect();
    prop_assert_eq!(&held, &wanted);
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_manager_does_what_the_model_does(
        steps in proptest::collection::vec(step(), 1..60),
        max_bans in 2..4_usize,
        escalates in any::<bool>(),
    ) {
        let policy = if escalates {
            BanPolicy { escalation: secs(500), max_bans: 100, ..POLICY }
        } else {
            BanPolicy { max_bans, ..POLICY }
        };
        check(policy, &steps)?;
    }
}
