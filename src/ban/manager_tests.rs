//! The ban manager on a kernel set in memory.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use btblocker_detectors::Timestamp;

use super::history::escalated;
use super::*;

/// A kernel set in memory with a clock of its own, shared with the test.
#[derive(Clone, Default)]
pub(super) struct FakeSet(Arc<Mutex<FakeState>>);

#[derive(Default)]
pub(super) struct FakeState {
    pub(super) now: Duration,
    /// Each element with the time at which it leaves the set.
    pub(super) held: HashMap<Element, Duration>,
    pub(super) calls: usize,
    pub(super) is_missing: bool,
    pub(super) room: Option<usize>,
    pub(super) refuses_all: bool,
    pub(super) refuses: Option<Element>,
    holds_hosts_only: bool,
    /// Whether nobody changed it but the manager.
    untouched: bool,
    /// Elements that are compared at once; 0 is all.
    at_once: usize,
    verified: usize,
}

impl FakeSet {
    pub(super) fn state(&self) -> MutexGuard<'_, FakeState> {
        let mut state = self.0.lock().unwrap();
        let now = state.now;
        state.held.retain(|_, end| *end > now);
        state
    }
    /// Seconds that an element has left.
    fn remaining(&self, element: Element) -> Option<u64> {
        let state = self.state();
        state.held.get(&element).map(|end| (*end - state.now).as_secs())
    }
}

fn refusal() -> BackendError {
    BackendError::Kernel {
        backend: "fake",
        action: "changing",
        object: "set".into(),
        source: std::io::Error::from_raw_os_error(22),
    }
}

impl SetBackend for FakeSet {
    fn name(&self) -> &'static str {
        "fake"
    }
    fn ensure(&mut self) -> Result<(), BackendError> {
        let mut state = self.state();
        if state.refuses_all {
            return Err(refusal());
        }
        state.is_missing = false;
        Ok(())
    }
    fn verify(&mut self) -> Result<(), BackendError> {
        self.state().verified += 1;
        match self.state().is_missing {
            true => Err(missing()),
            false => Ok(()),
        }
    }
    fn apply(&mut self, changes: &[Change]) -> Result<(), BackendError> {
        let mut state = self.state();
        state.calls += 1;
        if state.refuses_all {
            return Err(refusal());
        }
        if state.is_missing {
            return Err(missing());
        }
        for change in changes {
            let element = change.element();
            if state.refuses == Some(element) {
                return Err(refusal());
            }
            match change {
                Change::Ban(..) if state.holds_hosts_only && !element.is_host() => {
                    return Err(BackendError::Mismatch {
                        backend: "fake",
                        set: "set".into(),
                        found: "hosts".into(),
                        wanted: "networks".into(),
                    });
                }
                Change::Ban(..)
                    if !state.held.contains_key(&element)
                        && state.room.is_some_and(|room| state.held.len() >= room) =>
                {
                    return Err(BackendError::Full {
                        backend: "fake",
                        set: "set".into(),
                        max: 0,
                    });
                }
                Change::Ban(_, timeout) => {
                    let end = state.now + Duration::from_secs(timeout.secs().into());
                    state.held.insert(element, end);
                }
                Change::Unban(_) => {
                    state.held.remove(&element);
                }
            }
        }
        Ok(())
    }
    fn list(&mut self) -> Result<Vec<Held>, BackendError> {
        let state = self.state();
        let held = |(element, end): (&Element, &Duration)| Held {
            element: *element,
            remaining: Some(*end - state.now),
        };
        Ok(state.held.iter().map(held).collect())
    }
    fn is_untouched(&mut self) -> Result<bool, BackendError> {
        Ok(self.state().untouched)
    }
    fn compare(&mut self, expected: &mut Vec<Element>) -> Result<Vec<Element>, BackendError> {
        let state = self.state();
        let rest = match state.at_once {
            0 => 0,
            number => expected.len().saturating_sub(number),
        };
        let some = expected.split_off(rest);
        Ok(some
            .into_iter()
            .filter(|element| !state.held.contains_key(element))
            .collect())
    }
    fn teardown(&mut self) -> Result<(), BackendError> {
        self.state().held.clear();
        Ok(())
    }
}

fn missing() -> BackendError {
    BackendError::Missing {
        backend: "fake",
        object: "rule".into(),
    }
}

pub(super) const POLICY: BanPolicy = BanPolicy {
    duration: secs(100),
    max_bans: 10,
    max_bans_per_minute: 0,
    escalation: Duration::ZERO,
    ipv6_prefix: 128,
    setup: true,
};

pub(super) const fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

pub(super) fn host(last: u8) -> IpAddr {
    IpAddr::V4(Ipv4Addr::new(192, 0, 2, last))
}

fn one(last: u8) -> Element {
    Element::host(host(last))
}

pub(super) fn reason() -> Reason {
    Reason {
        technique: "dht".to_owned(),
        text: "dht query".to_owned(),
        client: Some("libtorrent".to_owned()),
    }
}

fn manager(policy: BanPolicy) -> (Manager, FakeSet) {
    let set = FakeSet::default();
    let manager = Manager::new(Box::new(set.clone()), Exemptions::default(), policy);
    (manager, set)
}

fn ban(manager: &mut Manager, address: IpAddr, now: u64) -> Outcome {
    manager.ban(address, secs(now), Timestamp(now), reason)
}

fn exempting(network: &str) -> Exemptions {
    let mut exemptions = Exemptions::default();
    exemptions.add(network.parse().unwrap(), Exemption::Allowed);
    exemptions
}

#[test]
fn a_repeated_ban_costs_no_call_until_half_its_time_is_over() {
    let (mut manager, set) = manager(POLICY);
    for (now, outcome, calls) in [
        (0, Outcome::Banned, 1),
        (1, Outcome::Cached, 1),
        (49, Outcome::Cached, 1),
        (50, Outcome::Renewed, 2),
        (99, Outcome::Cached, 2),
        (151, Outcome::Banned, 3),
    ] {
        set.state().now = secs(now);
        assert_eq!(ban(&mut manager, host(7), now), outcome, "at {now}");
        manager.flush(secs(now)).unwrap();
        assert_eq!(set.state().calls, calls, "at {now}");
    }
    assert_eq!(set.remaining(one(7)), Some(100));
}

#[test]
fn a_ban_remembers_why_since_when_and_for_how_many_flows() {
    let (mut manager, _) = manager(POLICY);
    ban(&mut manager, host(7), 5);
    manager.count_flow(host(7));
    manager.count_flow(host(8));
    ban(&mut manager, host(7), 60);
    let (element, record) = manager.active().next().unwrap();
    assert_eq!((element, record.since, record.flows), (one(7), Timestamp(5), 2));
    assert_eq!((&*record.reason, record.deadline), (&reason(), secs(160)));
    assert!(manager.take_changed() && !manager.take_changed());
}

#[test]
fn exempt_hosts_are_not_banned_and_a_new_exemption_lifts_a_ban() {
    let (mut manager, set) = manager(POLICY);
    assert_eq!(
        ban(&mut manager, "127.0.0.1".parse().unwrap(), 0),
        Outcome::Exempt(Exemption::Loopback)
    );
    ban(&mut manager, host(7), 0);
    manager.flush(secs(0)).unwrap();
    assert_eq!(manager.exempt(exempting("192.0.2.0/24")), [one(7)]);
    manager.flush(secs(0)).unwrap();
    assert!(set.state().held.is_empty());
    for outcome in [
        ban(&mut manager, host(7), 1),
        manager.ban_by_hand("192.0.0.0/16".parse().unwrap(), secs(9), secs(1), Timestamp(1)),
    ] {
        assert_eq!(outcome, Outcome::Exempt(Exemption::Allowed));
    }
}

#[test]
fn no_more_than_the_maximum_is_banned_and_expiry_makes_room() {
    let (mut manager, _) = manager(BanPolicy {
        max_bans: 2,
        ..POLICY
    });
    assert_eq!(ban(&mut manager, host(1), 0), Outcome::Banned);
    assert_eq!(ban(&mut manager, host(2), 10), Outcome::Banned);
    assert_eq!(ban(&mut manager, host(3), 20), Outcome::Full);
    assert_eq!(
        ban(&mut manager, host(1), 60),
        Outcome::Renewed,
        "what is banned stays"
    );
    assert_eq!(ban(&mut manager, host(3), 111), Outcome::Banned);
    assert_eq!(manager.tally().full, 1);
}

#[test]
fn each_further_ban_within_the_memory_lasts_twice_as_long() {
    let escalation = secs(1_000);
    let (mut manager, set) = manager(BanPolicy { escalation, ..POLICY });
    let remaining = |manager: &mut Manager, now| {
        set.state().now = secs(now);
        assert_eq!(ban(manager, host(7), now), Outcome::Banned, "at {now}");
        manager.flush(secs(now)).unwrap();
        set.remaining(one(7))
    };
    assert_eq!(remaining(&mut manager, 0), Some(100));
    assert_eq!(remaining(&mut manager, 200), Some(200));
    assert_eq!(
        remaining(&mut manager, 1_399),
        Some(400),
        "999 s after the last end"
    );
    assert_eq!(remaining(&mut manager, 2_800), Some(100), "forgotten");
    assert!(manager.unban(one(7)));
    assert_eq!(remaining(&mut manager, 2_801), Some(100), "forgiven");
}

#[test]
fn escalation_ends_at_the_longest_timeout() {
    for (duration, times, wanted) in [
        (100, 0, 100),
        (100, 1, 100),
        (100, 2, 200),
        (100, 11, 102_400),
        (100, 40, Timeout::MAX_SECS.into()),
        (u64::from(Timeout::MAX_SECS), 2, Timeout::MAX_SECS.into()),
    ] {
        assert_eq!(escalated(secs(duration), times), secs(wanted), "{times}");
    }
}

#[test]
fn an_ipv6_prefix_is_banned_unless_an_exempt_address_lies_in_it() {
    let (mut manager, _) = manager(BanPolicy {
        ipv6_prefix: 64,
        ..POLICY
    });
    for (exempt, address, element) in [
        ("192.0.2.1", "2001:db8:0:7::9", "2001:db8:0:7::/64"),
        ("2001:db8:0:8::1", "2001:db8:0:7::9", "2001:db8:0:7::/64"),
        ("2001:db8:0:7::1", "2001:db8:0:7::9", "2001:db8:0:7::9"),
        ("2001:db8:0:7::/80", "2001:db8:0:7:1::9", "2001:db8:0:7:1::9"),
        ("192.0.2.1", "198.51.100.7", "198.51.100.7"),
    ] {
        manager.exempt(exempting(exempt));
        let found = manager.element_for(address.parse().unwrap());
        assert_eq!(found.to_string(), element, "{address} without {exempt}");
    }
    manager.exempt(Exemptions::default());
    let (first, second) = ("2001:db8::1".parse().unwrap(), "2001:db8::2".parse().unwrap());
    assert_eq!(ban(&mut manager, first, 0), Outcome::Banned);
    assert_eq!(ban(&mut manager, second, 0), Outcome::Cached, "the same prefix");
    let prefix = "2001:db8::/64".parse().unwrap();
    for (element, covering) in [
        (Element::host(second), Some(prefix)),
        (prefix, Some(prefix)),
        (one(1), None),
    ] {
        assert_eq!(manager.covering(element), covering, "{element}");
    }
}

#[test]
fn a_storm_of_new_bans_is_braked() {
    let (mut manager, _) = manager(BanPolicy {
        max_bans_per_minute: 2,
        ..POLICY
    });
    for (number, now, outcome) in [
        (1, 0, Outcome::Banned),
        (2, 1, Outcome::Banned),
        (3, 2, Outcome::Storm),
        (1, 3, Outcome::Cached),
        (3, 63, Outcome::Banned),
    ] {
        assert_eq!(ban(&mut manager, host(number), now), outcome, "at {now}");
        assert_eq!(manager.is_storm(secs(now)), outcome == Outcome::Storm || now == 3);
    }
}

#[test]
fn what_others_removed_comes_back_with_its_remaining_time() {
    let (mut manager, set) = manager(POLICY);
    ban(&mut manager, host(7), 0);
    manager.flush(secs(0)).unwrap();
    assert_eq!(manager.reconcile(secs(1)).unwrap(), 0);
    {
        let mut state = set.state();
        (state.now, state.is_missing) = (secs(30), true);
        state.held.clear();
    }
    assert_eq!(manager.take_put_back(), []);
    assert_eq!(manager.reconcile(secs(30)).unwrap(), 1);
    assert_eq!(
        (manager.take_put_back(), manager.take_put_back()),
        (vec![one(7)], vec![])
    );
    assert!(!set.state().is_missing);
    assert_eq!(set.remaining(one(7)), Some(70));
}

#[test]
fn many_bans_are_compared_in_several_calls() {
    let (mut manager, set) = manager(POLICY);
    (0..10).for_each(|number| _ = ban(&mut manager, host(number), 0));
    manager.flush(secs(0)).unwrap();
    {
        let mut state = set.state();
        state.at_once = 4;
        state.held.clear();
    }
    for (held, put_back, is_over) in [(4, 0, false), (8, 0, false), (10, 10, true), (10, 0, false)] {
        assert_eq!(manager.reconcile(secs(1)).unwrap(), put_back);
        assert_eq!((set.state().held.len(), manager.is_comparing()), (held, !is_over));
    }
    // What is lifted meanwhile is not put back; what others take away behind the comparison is seen by the next one.
    set.state().held.clear();
    (0..5).for_each(|number| _ = manager.unban(one(number)));
    while manager.is_comparing() || set.state().held.len() < 5 {
        manager.reconcile(secs(2)).unwrap();
    }
    assert_eq!((set.state().held.len(), manager.tally().restored), (5, 10 + 5));
}

#[test]
fn a_set_that_nobody_touched_is_not_compared() {
    let (mut manager, set) = manager(POLICY);
    ban(&mut manager, host(7), 0);
    manager.flush(secs(0)).unwrap();
    {
        let mut state = set.state();
        state.untouched = true;
        state.held.clear();
    }
    assert_eq!(
        (manager.reconcile(secs(1)).unwrap(), set.state().verified),
        (0, 0)
    );
    set.state().refuses_all = true;
    ban(&mut manager, host(8), 1);
    assert!(manager.flush(secs(1)).is_err());
    set.state().refuses_all = false;
    manager.reconcile(secs(2)).unwrap();
    assert!(set.remaining(one(8)).is_some(), "what waits is written");
    set.state().untouched = false;
    assert_eq!(
        (manager.reconcile(secs(3)).unwrap(), set.state().verified),
        (1, 1)
    );
}

#[test]
fn a_missing_set_is_made_at_once_and_everything_is_put_back() {
    let (mut manager, set) = manager(POLICY);
    ban(&mut manager, host(7), 0);
    manager.flush(secs(0)).unwrap();
    {
        let mut state = set.state();
        state.is_missing = true;
        state.held.clear();
    }
    ban(&mut manager, host(8), 1);
    set.state().refuses = Some(one(7));
    assert!(manager.flush(secs(1)).is_err());
    assert_eq!(manager.take_put_back(), [one(8)], "the other is not back yet");
    set.state().refuses = None;
    manager.reconcile(secs(2)).unwrap();
    assert_eq!(manager.take_put_back(), [one(7)]);
    assert_eq!(set.state().held.len(), 2);
}

#[test]
fn without_setup_nothing_is_made() {
    let (mut manager, set) = manager(BanPolicy {
        setup: false,
        ..POLICY
    });
    set.state().is_missing = true;
    ban(&mut manager, host(7), 0);
    for outcome in [manager.flush(secs(0)), manager.reconcile(secs(1)).map(drop)] {
        assert!(
            matches!(outcome, Err(BackendError::Missing { .. })),
            "{outcome:?}"
        );
    }
    set.state().is_missing = false;
    manager.reconcile(secs(2)).unwrap();
    assert_eq!(set.remaining(one(7)), Some(98));
}

#[test]
fn changes_that_the_kernel_refused_are_tried_again() {
    let (mut manager, set) = manager(POLICY);
    (1..9).for_each(|number| _ = ban(&mut manager, host(number), 0));
    set.state().refuses_all = true;
    assert!(manager.flush(secs(0)).is_err());
    assert!(
        set.state().calls < 8,
        "a kernel that refuses all is not asked for each"
    );
    set.state().refuses_all = false;
    manager.flush(secs(1)).unwrap();
    assert_eq!(set.state().held.len(), 8);
}

#[test]
fn one_refused_change_keeps_no_other_from_being_made() {
    let (mut manager, set) = manager(POLICY);
    set.state().refuses = Some(one(3));
    (1..6).for_each(|number| _ = ban(&mut manager, host(number), 0));
    assert!(manager.flush(secs(0)).is_err());
    assert_eq!(set.state().held.len(), 4);
    ban(&mut manager, host(9), 1);
    assert!(manager.is_waiting(one(9)));
    manager.flush(secs(1)).unwrap();
    let waiting = |manager: &Manager| (1..10).filter(|number| manager.is_waiting(one(*number))).count();
    assert!(manager.is_waiting(one(3)) && manager.is_banned(one(3)));
    assert_eq!((waiting(&manager), manager.waiting()), (1, 1));
    set.state().refuses = None;
    assert_eq!(manager.reconcile(secs(5)).unwrap(), 0, "it was never there");
    assert_eq!(set.remaining(one(3)), Some(95));
    assert_eq!((waiting(&manager), manager.waiting()), (0, 0));
    manager.expire(secs(101));
    assert_eq!(manager.take_ended().len(), 6);
    assert_eq!(manager.take_ended(), []);
}

#[test]
fn networks_that_a_set_cannot_hold_keep_no_host_waiting() {
    let (mut manager, set) = manager(POLICY);
    set.state().holds_hosts_only = true;
    // More than are tried, and all of them before the host.
    let networks = (1..7).map(|number| format!("10.{number}.0.0/16").parse::<Element>().unwrap());
    let networks: Vec<Element> = networks.collect();
    for network in &networks {
        manager.ban_by_hand(*network, secs(100), secs(0), Timestamp(0));
    }
    assert!(matches!(
        manager.flush(secs(0)),
        Err(BackendError::Mismatch { .. })
    ));
    ban(&mut manager, host(7), 1);
    manager.flush(secs(1)).unwrap();
    assert!(set.remaining(one(7)).is_some());
    assert_eq!(manager.waiting(), networks.len());
    manager.unban(one(7));
    assert!(
        manager.reconcile(secs(4)).is_err(),
        "the networks are tried again"
    );
    assert_eq!(set.remaining(one(7)), None);
    networks.iter().for_each(|network| _ = manager.unban(*network));
    manager.flush(secs(5)).unwrap();
    assert!(!manager.is_any_waiting());
}

#[test]
fn bans_for_which_the_kernel_has_no_room_are_given_up_and_counted() {
    let (mut manager, set) = manager(POLICY);
    set.state().room = Some(2);
    (1..6).for_each(|number| _ = ban(&mut manager, host(number), 0));
    assert!(matches!(manager.flush(secs(0)), Err(BackendError::Full { .. })));
    assert_eq!((set.state().held.len(), manager.tally().kernel_full), (2, 3));
    assert_eq!(manager.active().len(), 2);
    assert!(manager.unban(one(1)));
    manager.flush(secs(1)).unwrap();
    assert_eq!(ban(&mut manager, host(4), 2), Outcome::Banned);
    manager.flush(secs(2)).unwrap();
}

#[test]
fn bans_of_an_earlier_run_are_taken_over() {
    let (mut manager, set) = manager(POLICY);
    set.state().held.insert(one(7), secs(80));
    assert_eq!(manager.adopt(secs(0), Timestamp(0)).unwrap(), 1);
    let remembered = |deadline| Record {
        reason: Arc::new(reason()),
        since: Timestamp(3),
        deadline: secs(deadline),
        duration: secs(100),
        flows: 4,
        times: 2,
    };
    let all = [
        (one(7), remembered(60)),
        (one(8), remembered(50)),
        (one(9), remembered(0)),
    ];
    assert_eq!(manager.restore(all, secs(0)), 1);
    manager.flush(secs(0)).unwrap();
    assert_eq!(set.remaining(one(7)), Some(80), "the kernel knows better");
    assert_eq!(set.remaining(one(8)), Some(50));
    assert_eq!(set.remaining(one(9)), None);
    assert!(manager.active().all(|(_, record)| record.flows == 4));
    assert_eq!(ban(&mut manager, host(7), 1), Outcome::Cached);
    assert_eq!(manager.take_put_back(), [one(7), one(8)]);
}

#[test]
fn a_ban_by_hand_sets_its_own_time() {
    let (mut manager, set) = manager(POLICY);
    ban(&mut manager, host(7), 0);
    let by_hand = |manager: &mut Manager| manager.ban_by_hand(one(7), secs(7), secs(1), Timestamp(1));
    assert_eq!(by_hand(&mut manager), Outcome::Renewed);
    manager.flush(secs(0)).unwrap();
    assert!(set.remaining(one(7)).is_some_and(|left| left <= 8));
    assert_eq!(
        manager.active().next().unwrap().1.reason.technique,
        Reason::BY_HAND
    );
}
