//! Stories told to the judge, and what must come of them.

use std::net::IpAddr;
use std::num::NonZeroU64;

use btblocker_detectors::{
    Class, Client, Confidence, Endpoint, Ends, Evidence, LearnedFrom, Sensitivity, Side, Technique,
    Timestamp, Transport,
};

use super::*;

use Confidence::{Conclusive, Strong, Weak};
use Side::{Originator, Responder};

const CLIENT: &str = "10.8.0.7";
const PEER: &str = "198.51.100.20";
const SECOND: u64 = 1_000_000;

struct Net;

impl Addresses for Net {
    fn is_local(&self, address: IpAddr) -> bool {
        address.to_string().starts_with("10.8.0.")
    }
    fn may_be_banned(&self, address: IpAddr) -> bool {
        address.to_string() != "10.8.0.1"
    }
}

fn endpoint(address: &str, port: u16) -> Endpoint {
    Endpoint::new(address.parse().unwrap(), port)
}

fn sighting(from: &str, to: &str, evidence: Evidence, proven: Ends) -> Sighting {
    let flow = FlowId {
        transport: Transport::Tcp,
        originator: endpoint(from, 40_000),
        responder: endpoint(to, 51_413),
    };
    Sighting {
        at: Timestamp(SECOND),
        interface: 0,
        flow,
        evidence,
        proven,
        payload_len: 68,
    }
}

fn evidence(technique: Technique, confidence: Confidence, speaker: Side) -> Evidence {
    let evidence = Evidence::new(technique, "rule", confidence, speaker);
    match technique {
        // These look at what both ends send.
        Technique::Mse | Technique::Utp | Technique::Entropy => evidence.of_both(),
        _ => evidence,
    }
}

struct Court {
    judge: Judge,
    flows: usize,
    bans: Vec<String>,
    last: Option<Corroboration>,
}

impl Court {
    fn new(policy: Policy) -> Self {
        Self {
            judge: Judge::new(policy),
            flows: 0,
            bans: Vec::new(),
            last: None,
        }
    }

    fn hear(&mut self, report: Report) -> &mut Self {
        let mut verdicts = Vec::new();
        self.judge.hear(&report, &Net, &mut verdicts);
        for verdict in verdicts {
            match verdict {
                Verdict::Flow(flow) => {
                    self.flows += 1;
                    self.last = Some(flow.corroboration);
                }
                Verdict::Ban(ban) => {
                    let address = ban.address.to_string();
                    if !self.bans.contains(&address) {
                        self.bans.push(address);
                    }
                }
            }
        }
        self
    }

    fn see(&mut self, sighting: Sighting) -> &mut Self {
        self.hear(Report::Sighting(sighting))
    }
}

/// One sighting, judged alone.
fn check(name: &str, policy: Policy, sighting: Sighting, flows: usize, bans: &[&str]) {
    let mut court = Court::new(policy);
    court.see(sighting);
    assert_eq!(
        (court.flows, court.bans.as_slice()),
        (flows, bans.map_to_strings().as_slice()),
        "{name}"
    );
}

trait Strings {
    fn map_to_strings(&self) -> Vec<String>;
}

impl Strings for [&str] {
    fn map_to_strings(&self) -> Vec<String> {
        self.iter().map(ToString::to_string).collect()
    }
}

#[test]
fn one_sighting_bans_only_a_proven_speaker() {
    let handshake = |speaker| evidence(Technique::Handshake, Conclusive, speaker);
    let policy = Policy::default;
    check(
        "forged",
        policy(),
        sighting(CLIENT, PEER, handshake(Originator), Ends::NONE),
        1,
        &[],
    );
    check(
        "other end proven",
        policy(),
        sighting(CLIENT, PEER, handshake(Originator), Ends::only(Responder)),
        1,
        &[],
    );
    check(
        "proven",
        policy(),
        sighting(CLIENT, PEER, handshake(Originator), Ends::BOTH),
        1,
        &[CLIENT],
    );
    check(
        "the remote spoke, not the local end",
        policy(),
        sighting(CLIENT, PEER, handshake(Responder), Ends::BOTH),
        1,
        &[],
    );
    check(
        "incoming, local end silent",
        policy(),
        sighting(PEER, CLIENT, handshake(Originator), Ends::BOTH),
        1,
        &[],
    );
    check(
        "no local end",
        policy(),
        sighting("203.0.113.9", PEER, handshake(Responder), Ends::BOTH),
        1,
        &[PEER],
    );
    check(
        "own address is exempt",
        policy(),
        sighting("10.8.0.1", PEER, handshake(Originator), Ends::BOTH),
        1,
        &[],
    );
    check(
        "strong",
        policy(),
        sighting(
            CLIENT,
            PEER,
            evidence(Technique::Mse, Strong, Originator),
            Ends::BOTH,
        ),
        0,
        &[],
    );
    check(
        "weak",
        policy(),
        sighting(
            CLIENT,
            PEER,
            evidence(Technique::Http, Weak, Originator),
            Ends::BOTH,
        ),
        0,
        &[],
    );
}

#[test]
fn a_ban_names_the_program_of_the_host_and_not_of_its_peer() {
    let greeting = |from, to, speaker, program| {
        let evidence = evidence(Technique::Handshake, Conclusive, speaker).by(Client::name(program));
        Report::Sighting(sighting(from, to, evidence, Ends::BOTH))
    };
    for (name, reports, program) in [
        (
            "the host calls",
            vec![greeting(CLIENT, PEER, Originator, b"own")],
            Client::name(b"own"),
        ),
        (
            "its peer calls",
            vec![
                greeting(PEER, CLIENT, Originator, b"other"),
                greeting(PEER, CLIENT, Responder, b"own"),
            ],
            Client::Unknown,
        ),
    ] {
        let (mut judge, mut verdicts) = (Judge::new(Policy::default()), Vec::new());
        for report in reports {
            judge.hear(&report, &Net, &mut verdicts);
        }
        let named: Vec<_> = verdicts
            .iter()
            .filter_map(|verdict| match verdict {
                Verdict::Ban(ban) => Some((ban.address.to_string(), ban.client())),
                Verdict::Flow(_) => None,
            })
            .collect();
        assert_eq!(named, [(CLIENT.to_owned(), program)], "{name}");
    }
}

#[test]
fn the_operator_says_which_end_is_banned() {
    for (target, bans) in [
        (BanTarget::Auto, &[CLIENT][..]),
        (BanTarget::Source, &[CLIENT, PEER]),
        (BanTarget::Client, &[CLIENT]),
        (BanTarget::Remote, &[PEER]),
        (BanTarget::Both, &[CLIENT, PEER]),
    ] {
        let mut court = Court::new(Policy {
            target,
            ..Policy::default()
        });
        court.see(sighting(
            CLIENT,
            PEER,
            evidence(Technique::Handshake, Conclusive, Originator),
            Ends::BOTH,
        ));
        court.see(sighting(
            CLIENT,
            PEER,
            evidence(Technique::Handshake, Conclusive, Responder),
            Ends::BOTH,
        ));
        court.bans.sort();
        assert_eq!(court.bans, bans.map_to_strings(), "{target}");
        assert_eq!(court.flows, 1);
    }
}

#[test]
fn one_sided_captures_count_tcp_without_an_answer_when_so_configured() {
    let seen = sighting(
        CLIENT,
        PEER,
        evidence(Technique::Handshake, Conclusive, Originator),
        Ends::NONE,
    );
    check(
        "one-sided",
        Policy {
            one_sided: true,
            ..Policy::default()
        },
        seen,
        1,
        &[CLIENT],
    );
    let mut udp = seen;
    udp.flow.transport = Transport::Udp;
    check(
        "never for UDP",
        Policy {
            one_sided: true,
            ..Policy::default()
        },
        udp,
        1,
        &[],
    );
}

#[test]
fn two_techniques_on_one_flow_agree() {
    let mut court = Court::new(Policy::default());
    court.see(sighting(
        CLIENT,
        PEER,
        evidence(Technique::Mse, Strong, Originator),
        Ends::BOTH,
    ));
    court.see(sighting(
        CLIENT,
        PEER,
        evidence(Technique::Mse, Strong, Originator),
        Ends::BOTH,
    ));
    assert_eq!(court.flows, 0);
    court.see(sighting(
        CLIENT,
        PEER,
        evidence(Technique::Entropy, Strong, Originator),
        Ends::BOTH,
    ));
    assert_eq!(
        (court.flows, court.bans.as_slice()),
        (1, &[CLIENT.to_owned()][..])
    );
    assert_eq!(court.last, Some(Corroboration::TwoTechniques));
}

#[test]
fn encrypted_flows_count_from_the_third_remote() {
    let mse = |remote: &str| {
        sighting(
            CLIENT,
            remote,
            evidence(Technique::Mse, Strong, Originator),
            Ends::BOTH,
        )
    };
    let mut near = Court::new(Policy::default());
    near.see(mse("198.51.100.1")).see(mse("198.51.100.2"));
    assert_eq!(near.flows, 0);
    near.see(mse("198.51.100.3"));
    assert_eq!(
        (near.flows, near.bans.len(), near.last),
        (3, 1, Some(Corroboration::FanOut(3)))
    );
    let mut far = Court::new(Policy::default());
    far.see(mse("198.51.100.1")).see(mse("203.0.113.1"));
    assert_eq!(far.flows, 0);
    let mut strict = Court::new(Policy {
        sensitivity: Sensitivity::Strict,
        ..Policy::default()
    });
    strict
        .see(mse("198.51.100.1"))
        .see(mse("203.0.113.1"))
        .see(mse("192.0.2.1"));
    assert_eq!(strict.flows, 0);
}

/// Flows of one host to as many remotes, of which each `nth` begins with an exact size and all with a possible one.
fn openings(flows: u8, nth: u8, from: Side) -> Court {
    let mut court = Court::new(Policy::default());
    for flow in 1..=flows {
        let remote = format!("198.51.{flow}.1");
        let (a, b) = match from {
            Originator => (CLIENT, remote.as_str()),
            Responder => (remote.as_str(), CLIENT),
        };
        court.see(sighting(
            a,
            b,
            evidence(Technique::Mse, Weak, Originator),
            Ends::BOTH,
        ));
        if flow % nth == 0 {
            court.see(sighting(
                a,
                b,
                evidence(Technique::Mse, Strong, Originator),
                Ends::BOTH,
            ));
        }
    }
    court
}

#[test]
fn exact_sizes_by_accident_do_not_count_however_many_there_are() {
    for (nth, flows, judged) in [(1, 12, true), (2, 12, true), (3, 90, false), (20, 250, false)] {
        for side in [Originator, Responder] {
            let court = openings(flows, nth, side);
            assert_eq!(
                court.flows > 0,
                judged,
                "one in {nth} of {flows}, opened by {side:?}"
            );
        }
    }
}

#[test]
fn techniques_that_read_the_same_bytes_repeat_each_other_and_count_against_their_sender_only() {
    let told = |evidences: &[Evidence]| {
        let mut court = Court::new(Policy {
            target: BanTarget::Both,
            ..Policy::default()
        });
        for evidence in evidences {
            court.see(sighting(PEER, CLIENT, *evidence, Ends::BOTH));
        }
        (court.flows, court.bans)
    };
    let strong = |technique| Evidence::new(technique, "rule", Strong, Originator);
    let handshake = strong(Technique::Handshake);
    assert_eq!(told(&[handshake, strong(Technique::PeerMessage)]), (0, vec![]));
    let socks = strong(Technique::Socks).of_class(Class::Socks);
    assert_eq!(told(&[strong(Technique::Http), socks]), (0, vec![]));
    // Two views of what one end sends point to that end, views of a conversation to both.
    let (tls, entropy) = (strong(Technique::Tls), strong(Technique::Entropy));
    assert_eq!(told(&[tls, entropy]), (1, vec![PEER.to_owned()]));
    let both = vec![PEER.to_owned(), CLIENT.to_owned()];
    assert_eq!(told(&[tls.of_both(), entropy.of_both()]), (1, both));
    // A stranger's two do not become the host's by a third that is its own.
    let own = Evidence::new(Technique::Utp, "answer", Strong, Responder);
    assert_eq!(told(&[tls, entropy, own]), (1, vec![PEER.to_owned()]));
    let certain = Evidence::new(Technique::Handshake, "rule", Conclusive, Originator);
    assert_eq!(told(&[own, certain]), (1, vec![PEER.to_owned()]));
}

#[test]
fn a_learned_endpoint_does_not_make_its_words_another_hosts() {
    let mut court = Court::new(Policy::default());
    court.hear(Report::Learned(LearnedPeer {
        at: Timestamp(SECOND),
        told: endpoint(CLIENT, 0).address,
        endpoint: endpoint(PEER, 40_000),
        from: LearnedFrom::Pex,
    }));
    let evidence = Evidence::new(Technique::Handshake, "rule", Strong, Originator);
    court.see(sighting(PEER, CLIENT, evidence, Ends::BOTH));
    assert_eq!((court.flows, court.bans.len()), (0, 0));
}

#[test]
fn many_clients_of_one_server_are_no_swarm() {
    let mut court = Court::new(Policy::default());
    for client in 2..=60 {
        let from = format!("10.8.0.{client}");
        court.see(sighting(
            &from,
            PEER,
            evidence(Technique::Mse, Strong, Originator),
            Ends::BOTH,
        ));
    }
    assert!(
        court.bans.iter().all(|banned| !banned.starts_with("10.8.0.")),
        "{:?}",
        court.bans
    );
}

#[test]
fn a_learned_endpoint_corroborates_but_never_accuses() {
    let learned = LearnedPeer {
        at: Timestamp(SECOND),
        told: endpoint(CLIENT, 0).address,
        endpoint: endpoint(PEER, 51_413),
        from: LearnedFrom::Tracker,
    };
    let mut court = Court::new(Policy::default());
    court.hear(Report::Learned(learned));
    assert_eq!((court.flows, court.bans.len()), (0, 0));
    court.see(sighting(
        CLIENT,
        PEER,
        evidence(Technique::Mse, Strong, Originator),
        Ends::BOTH,
    ));
    assert_eq!(
        (court.last, court.bans.as_slice()),
        (Some(Corroboration::LearnedPeer), &[CLIENT.to_owned()][..])
    );
    let mut other = Court::new(Policy::default());
    other.hear(Report::Learned(learned));
    other.see(sighting(
        "10.8.0.9",
        PEER,
        evidence(Technique::Mse, Strong, Originator),
        Ends::BOTH,
    ));
    assert_eq!(other.flows, 0, "what one host was told says nothing of another");
}

#[test]
fn what_was_seen_before_the_clock_was_set_back_is_forgotten() {
    let day = 86_400 * SECOND;
    for (back, flows) in [(day, 0), (60 * SECOND, 1)] {
        let mut court = Court::new(Policy::default());
        court.hear(Report::Learned(LearnedPeer {
            at: Timestamp(2 * day),
            told: endpoint(CLIENT, 0).address,
            endpoint: endpoint(PEER, 51_413),
            from: LearnedFrom::Tracker,
        }));
        let mse = |to, at| Sighting {
            at: Timestamp(at),
            ..sighting(
                CLIENT,
                to,
                evidence(Technique::Mse, Strong, Originator),
                Ends::BOTH,
            )
        };
        court.see(mse("203.0.113.80", 2 * day - back));
        court.see(mse(PEER, 2 * day - back + 300 * SECOND));
        assert_eq!(court.flows, flows, "{back}");
    }
}

#[test]
fn only_the_suspect_end_of_a_corroborated_flow_is_banned() {
    let mut court = Court::new(Policy {
        target: BanTarget::Both,
        ..Policy::default()
    });
    court.see(sighting(
        CLIENT,
        PEER,
        evidence(Technique::Handshake, Conclusive, Originator),
        Ends::BOTH,
    ));
    court.see(sighting(
        CLIENT,
        "203.0.113.80",
        evidence(Technique::Mse, Strong, Originator),
        Ends::BOTH,
    ));
    assert_eq!(
        (court.flows, court.bans.as_slice()),
        (2, &[CLIENT.to_owned()][..])
    );
}

#[test]
fn who_sends_conclusive_bytes_on_a_corroborated_flow_is_banned_too() {
    for (confidence, expected) in [(Strong, &[CLIENT][..]), (Conclusive, &[CLIENT, PEER])] {
        let mut court = Court::new(Policy {
            target: BanTarget::Both,
            ..Policy::default()
        });
        court.hear(Report::Learned(LearnedPeer {
            at: Timestamp(SECOND),
            told: endpoint(CLIENT, 0).address,
            endpoint: endpoint(PEER, 51_413),
            from: LearnedFrom::Tracker,
        }));
        for (evidence, proven) in [
            (evidence(Technique::Utp, Strong, Originator), Ends::BOTH),
            (evidence(Technique::Utp, confidence, Responder), Ends::BOTH),
            (evidence(Technique::Utp, Strong, Originator), Ends::BOTH),
        ] {
            court.see(sighting(CLIENT, PEER, evidence, proven));
        }
        // The flow is told of once, with what made it count.
        assert_eq!((court.flows, court.last), (1, Some(Corroboration::LearnedPeer)));
        assert_eq!(court.bans, expected.map_to_strings(), "{confidence:?}");
    }
}

#[test]
fn conclusive_bytes_on_a_corroborated_flow_ban_no_end_that_is_not_proven() {
    let mut court = Court::new(Policy {
        target: BanTarget::Both,
        ..Policy::default()
    });
    let own = Ends::only(Originator);
    court.see(sighting(
        CLIENT,
        PEER,
        evidence(Technique::Handshake, Conclusive, Originator),
        own,
    ));
    let other = "203.0.113.80";
    court.see(sighting(
        CLIENT,
        other,
        evidence(Technique::Mse, Strong, Originator),
        own,
    ));
    court.see(sighting(
        CLIENT,
        other,
        evidence(Technique::Handshake, Conclusive, Responder),
        own,
    ));
    assert_eq!((court.flows, court.bans), (2, vec![CLIENT.to_owned()]));
}

#[test]
fn exempt_ports_suppress_evidence_below_conclusive() {
    let on_port = |evidence, port| {
        let mut seen = sighting(CLIENT, PEER, evidence, Ends::BOTH);
        seen.flow.responder.port = port;
        seen
    };
    let conclusive = evidence(Technique::Handshake, Conclusive, Originator);
    check(
        "conclusive on 443",
        Policy::default(),
        on_port(conclusive, 443),
        1,
        &[CLIENT],
    );
    let mut court = Court::new(Policy::default());
    for remote in ["198.51.100.1", "203.0.113.1", "192.0.2.1", "192.0.2.2"] {
        let mut seen = on_port(evidence(Technique::Mse, Strong, Originator), 443);
        seen.flow.responder = endpoint(remote, 443);
        court.see(seen);
    }
    assert_eq!(court.flows, 0);
    court.see(on_port(evidence(Technique::Mse, Strong, Originator), 443));
    court.see(on_port(evidence(Technique::Entropy, Strong, Originator), 443));
    assert_eq!(
        court.flows, 1,
        "two techniques that agree are conclusive together"
    );
}

#[test]
fn dht_maintenance_counts_with_a_second_remote() {
    let ping = |remote: &str| {
        let ping = evidence(Technique::Dht, Conclusive, Originator).of_class(Class::DhtMaintenance);
        sighting(CLIENT, remote, ping, Ends::BOTH)
    };
    let mut court = Court::new(Policy::default());
    court.see(ping("198.51.100.1"));
    assert_eq!((court.flows, court.bans.len()), (1, 0));
    court.see(ping("198.51.100.2"));
    assert_eq!(court.bans, [CLIENT]);
    let mut off = Court::new(Policy {
        classes: vec![Class::BitTorrent],
        ..Policy::default()
    });
    off.see(ping("198.51.100.1")).see(ping("198.51.100.2"));
    assert_eq!((off.flows, off.bans.len()), (2, 0));
}

#[test]
fn other_classes_count_only_when_named() {
    let swarm = evidence(Technique::Handshake, Conclusive, Originator).of_class(Class::DeliveryOptimization);
    check(
        "off",
        Policy::default(),
        sighting(CLIENT, PEER, swarm, Ends::BOTH),
        0,
        &[],
    );
    let policy = Policy {
        classes: vec![Class::DeliveryOptimization],
        ..Policy::default()
    };
    check(
        "on",
        policy,
        sighting(CLIENT, PEER, swarm, Ends::BOTH),
        1,
        &[CLIENT],
    );
}

#[test]
fn proof_may_come_after_the_evidence() {
    let mut court = Court::new(Policy::default());
    let handshake = evidence(Technique::Handshake, Conclusive, Originator);
    court.see(sighting(CLIENT, PEER, handshake, Ends::NONE));
    assert_eq!((court.flows, court.bans.len()), (1, 0));
    court.see(sighting(CLIENT, PEER, handshake, Ends::BOTH));
    assert_eq!(
        (court.flows, court.bans.as_slice()),
        (1, &[CLIENT.to_owned()][..])
    );
}

#[test]
fn scans_with_utp_are_flagged_but_an_unproven_host_is_not_banned() {
    let mut court = Court::new(Policy::default());
    for last in 1..=6 {
        let mut seen = sighting(
            CLIENT,
            &format!("198.51.100.{last}"),
            evidence(Technique::Utp, Strong, Originator),
            Ends::NONE,
        );
        seen.flow.transport = Transport::Udp;
        court.see(seen);
    }
    assert_eq!((court.flows, court.bans.len()), (6, 0));
}

#[test]
fn a_public_key_that_two_remotes_get_is_message_stream_encryption() {
    let with_key = |remote: &str, key| {
        let mut evidence = evidence(Technique::Mse, Strong, Originator);
        evidence.key = NonZeroU64::new(key);
        sighting(CLIENT, remote, evidence, Ends::BOTH)
    };
    let mut court = Court::new(Policy::default());
    court
        .see(with_key("198.51.100.1", 7))
        .see(with_key("198.51.100.2", 8));
    assert_eq!(
        court.flows, 0,
        "two remotes of one network with keys of their own"
    );
    let mut reused = Court::new(Policy::default());
    reused
        .see(with_key("198.51.100.1", 7))
        .see(with_key("198.51.100.1", 7));
    assert_eq!(reused.flows, 0, "a second try to the same remote");
    reused.see(with_key("198.51.100.2", 7));
    assert_eq!(
        (reused.last, reused.bans.as_slice()),
        (Some(Corroboration::KeyReuse), &[CLIENT.to_owned()][..])
    );
}

#[test]
fn signatures_that_are_switched_off_do_not_count() {
    let seen = sighting(
        CLIENT,
        PEER,
        evidence(Technique::Signature, Conclusive, Originator),
        Ends::BOTH,
    );
    check("on", Policy::default(), seen, 1, &[CLIENT]);
    check(
        "off",
        Policy {
            signatures_off: vec!["rule"],
            ..Policy::default()
        },
        seen,
        0,
        &[],
    );
}

#[test]
fn a_socks_proxy_counts_when_it_carries_bittorrent_or_the_operator_says_so() {
    let negotiation = evidence(Technique::Socks, Strong, Originator).of_class(Class::Socks);
    let seen = sighting(CLIENT, PEER, negotiation, Ends::BOTH);
    check("use of a proxy", Policy::default(), seen, 0, &[]);
    check(
        "block_socks",
        Policy {
            classes: vec![Class::Socks],
            ..Policy::default()
        },
        seen,
        1,
        &[CLIENT],
    );
    let mut court = Court::new(Policy::default());
    let mut other = sighting(
        CLIENT,
        PEER,
        evidence(Technique::Handshake, Conclusive, Originator),
        Ends::BOTH,
    );
    other.flow.originator.port += 1;
    court.see(seen).see(other);
    assert_eq!((court.flows, court.last), (2, Some(Corroboration::SameHost)));
}

#[test]
fn techniques_across_flows_can_be_switched_off() {
    let mse = |remote: &str| {
        sighting(
            CLIENT,
            remote,
            evidence(Technique::Mse, Strong, Originator),
            Ends::BOTH,
        )
    };
    let learned = LearnedPeer {
        at: Timestamp(SECOND),
        told: endpoint(CLIENT, 0).address,
        endpoint: endpoint("198.51.100.1", 51_413),
        from: LearnedFrom::Pex,
    };
    for (off, flows) in [
        (vec![], 3),
        (vec![Technique::FanOut], 1),
        (vec![Technique::LearnedPeer], 3),
        (vec![Technique::FanOut, Technique::LearnedPeer], 0),
    ] {
        let mut court = Court::new(Policy {
            techniques_off: off.clone(),
            ..Policy::default()
        });
        court.hear(Report::Learned(learned));
        court
            .see(mse("198.51.100.1"))
            .see(mse("203.0.113.1"))
            .see(mse("192.0.2.1"));
        assert_eq!(court.flows, flows, "without {off:?}");
    }
}

/// Handshakes of the client with peers of these numbers at these seconds; when it is banned, and which flows are
/// reported.
fn thresholds(policy: Policy, seen: &[(u8, u64)]) -> (Vec<u64>, Vec<u64>) {
    let mut judge = Judge::new(policy);
    let (mut bans, mut reported) = (Vec::new(), Vec::new());
    for (peer, second) in seen {
        let mut verdicts = Vec::new();
        let peer = format!("198.51.100.{peer}");
        let handshake = evidence(Technique::Handshake, Conclusive, Originator);
        let mut one = sighting(CLIENT, &peer, handshake, Ends::BOTH);
        one.at = Timestamp(second * SECOND);
        judge.hear(&Report::Sighting(one), &Net, &mut verdicts);
        for verdict in verdicts {
            match verdict {
                Verdict::Flow(flow) if flow.reported => reported.push(*second),
                Verdict::Flow(_) => {}
                Verdict::Ban(_) => bans.push(*second),
            }
        }
    }
    (bans, reported)
}

#[test]
fn a_ban_takes_as_many_detections_as_the_operator_asks_for() {
    let policy = |ban_threshold| Policy {
        ban_threshold,
        ..Policy::default()
    };
    let three_peers = [(1, 10), (2, 20), (3, 30)];
    for (name, threshold, seen, bans) in [
        ("at once", 1, &three_peers[..], &[10, 20, 30][..]),
        ("the second flow", 2, &three_peers, &[20, 30]),
        ("the third", 3, &three_peers, &[30]),
        ("too few", 4, &three_peers, &[]),
        ("a flow counts once", 2, &[(1, 10), (1, 11), (1, 39)], &[]),
        ("a lasting flow counts again", 2, &[(1, 10), (1, 40)], &[40]),
        ("too long ago", 2, &[(1, 10), (2, 611)], &[]),
    ] {
        assert_eq!(thresholds(policy(threshold), seen).0, bans, "{name}");
    }
}

#[test]
fn unproven_flows_do_not_count_for_a_ban() {
    let mut court = Court::new(Policy {
        ban_threshold: 2,
        ..Policy::default()
    });
    let handshake = evidence(Technique::Handshake, Conclusive, Originator);
    for last in 1..9 {
        let peer = format!("198.51.100.{last}");
        court.see(sighting(CLIENT, &peer, handshake, Ends::NONE));
    }
    court.see(sighting(CLIENT, PEER, handshake, Ends::BOTH));
    assert_eq!((court.flows, court.bans.len()), (9, 0));
    court.see(sighting(CLIENT, "198.51.100.21", handshake, Ends::BOTH));
    assert_eq!(court.bans, [CLIENT]);
}

#[test]
fn few_detections_of_a_host_are_not_reported() {
    for (report_threshold, reported) in [(1, &[10, 20, 30][..]), (2, &[20, 30]), (4, &[])] {
        let policy = Policy {
            report_threshold,
            ..Policy::default()
        };
        let (bans, found) = thresholds(policy, &[(1, 10), (2, 20), (3, 30)]);
        assert_eq!(
            (bans.len(), found.as_slice()),
            (3, reported),
            "{report_threshold}"
        );
    }
}

/// What keeps the host from being banned, flow by flow.
fn lacks(court: &Court, host: &str) -> Vec<Lack> {
    let dossier = court
        .judge
        .explain(host.parse().unwrap(), &Net, Timestamp(SECOND));
    assert_eq!(dossier.flows_known, dossier.flows.len());
    dossier.flows.iter().map(|flow| flow.lack).collect()
}

#[test]
fn the_dossier_says_what_keeps_a_host_from_being_banned() {
    let policy = Policy::default;
    let handshake = || evidence(Technique::Handshake, Conclusive, Originator);
    let mse = || evidence(Technique::Mse, Strong, Originator);
    let waiting = |remotes| Lack::Corroboration {
        utp: false,
        remotes,
        enough: 3,
        exact: true,
    };
    let strict = Policy {
        sensitivity: Sensitivity::Strict,
        ..policy()
    };
    let thrice = Policy {
        ban_threshold: 3,
        ..policy()
    };
    let ours = Policy {
        target: BanTarget::Remote,
        ..policy()
    };
    let exempt = Policy {
        exempt_ports: vec![51_413],
        ..policy()
    };
    let dht = || handshake().of_class(Class::DhtMaintenance);
    let socks = || handshake().of_class(Class::Socks);
    let resilio = || handshake().of_class(Class::Resilio);
    let weak = Lack::Weak {
        remotes: 1,
        enough: None,
    };
    for (name, policy, evidence, proven, lack) in [
        ("banned", policy(), handshake(), Ends::BOTH, Lack::Nothing),
        ("unproven", policy(), handshake(), Ends::NONE, Lack::Proof),
        (
            "the other end spoke",
            policy(),
            evidence(Technique::Handshake, Conclusive, Responder),
            Ends::BOTH,
            Lack::OtherEnd,
        ),
        ("encrypted", policy(), mse(), Ends::BOTH, waiting(1)),
        ("strict", strict, mse(), Ends::BOTH, Lack::Strict),
        ("exempt port", exempt, mse(), Ends::BOTH, Lack::ExemptPort),
        (
            "weak",
            policy(),
            evidence(Technique::Utp, Weak, Originator),
            Ends::BOTH,
            weak,
        ),
        (
            "signature",
            policy(),
            evidence(Technique::Signature, Strong, Originator),
            Ends::BOTH,
            Lack::SecondTechnique,
        ),
        (
            "class",
            policy(),
            resilio(),
            Ends::BOTH,
            Lack::Class(Class::Resilio),
        ),
        ("proxy", policy(), socks(), Ends::BOTH, Lack::Socks),
        (
            "target",
            ours,
            handshake(),
            Ends::BOTH,
            Lack::Target(BanTarget::Remote),
        ),
        (
            "maintenance",
            policy(),
            dht(),
            Ends::BOTH,
            Lack::Dht {
                remotes: 1,
                enough: 2,
            },
        ),
        (
            "threshold",
            thrice,
            handshake(),
            Ends::BOTH,
            Lack::Detections { count: 1, enough: 3 },
        ),
    ] {
        let mut court = Court::new(policy);
        court.see(sighting(CLIENT, PEER, evidence, proven));
        assert_eq!(lacks(&court, CLIENT), [lack], "{name}");
        assert_eq!(court.bans == [CLIENT], lack == Lack::Nothing, "{name}");
        assert_eq!(lacks(&court, "10.8.0.99"), [], "{name}");
    }
    let mut court = Court::new(policy());
    court.see(sighting(CLIENT, PEER, resilio(), Ends::BOTH));
    court.judge.set_policies(Policy {
        classes: vec![Class::Resilio],
        ..policy()
    });
    assert_eq!(lacks(&court, CLIENT), [Lack::Nothing]);
    court.see(sighting(CLIENT, PEER, resilio(), Ends::BOTH));
    assert_eq!(court.bans, [CLIENT]);

    let mut court = Court::new(policy());
    for (remote, lack) in [
        (PEER, waiting(1)),
        ("198.51.100.21", waiting(2)),
        ("198.51.100.22", Lack::Nothing),
    ] {
        court.see(sighting(CLIENT, remote, mse(), Ends::BOTH));
        assert!(
            lacks(&court, CLIENT).iter().all(|found| *found == lack),
            "{remote}: {:?}",
            lacks(&court, CLIENT)
        );
    }
    assert_eq!(court.bans, [CLIENT]);
}
