//! Forged floods against judge and ban manager together, as the daemon joins them.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use btblocker_detectors::{Confidence, Endpoint, Ends, Evidence, Side, Technique, Timestamp, Transport};

use super::Answerable;
use crate::backend::DryRun;
use crate::ban::Manager;
use crate::config::Config;
use crate::event;
use crate::judge::{FlowId, Judge, Report, Sighting, Verdict};
use crate::network::{Interface, InterfaceKind, Network, Prefix, Route};

const OWN: &str = "203.0.113.5";
const GATEWAY: &str = "203.0.113.1";
const RESOLVER: &str = "198.51.100.53";
const SSH_PEER: &str = "198.51.100.22";
const ALLOWED: &str = "192.0.2.77";
const BY_COMMAND: &str = "192.0.2.78";
const EXEMPT: [&str; 6] = [OWN, GATEWAY, RESOLVER, SSH_PEER, ALLOWED, BY_COMMAND];

fn network() -> Network {
    let address = |text: &str| text.parse::<IpAddr>().unwrap();
    let uplink = Interface {
        name: "up0".into(),
        index: 2,
        kind: InterfaceKind::Ethernet,
        mac: None,
        up: true,
        master: None,
        lower: None,
        addresses: vec![(address(OWN), Prefix::new(address(OWN), 24).unwrap())],
    };
    Network {
        interfaces: vec![uplink],
        routes: vec![Route {
            destination: Prefix::new(Ipv4Addr::UNSPECIFIED.into(), 0).unwrap(),
            interface: 2,
            gateway: Some(address(GATEWAY)),
            table: 254,
        }],
        resolvers: vec![address(RESOLVER)],
        ssh_peers: vec![address(SSH_PEER)],
    }
}

/// Who is banned after a flood of conclusive evidence that goes from `sources` to strangers and back, and
/// proves what `proven` says.
fn banned_after(config: &Config, sources: &[&str], proven: Ends) -> Vec<String> {
    let allowed = [BY_COMMAND.parse().unwrap()];
    let answerable = Answerable::new(config, &network(), &allowed);
    let mut judge = Judge::new(config.policy());
    let mut manager = Manager::new(
        Box::new(DryRun::default()),
        answerable.exemptions().clone(),
        config.ban_policy(),
    );
    let mut verdicts = Vec::new();
    for number in 0..3_000_u32 {
        let stranger = IpAddr::from(Ipv4Addr::from_bits(0x0801_0000 + number));
        let source = sources[number as usize % sources.len()].parse().unwrap();
        let (originator, responder) = if number % 2 == 0 {
            (source, stranger)
        } else {
            (stranger, source)
        };
        for (technique, speaker) in [
            (Technique::Handshake, Side::Originator),
            (Technique::Dht, Side::Responder),
        ] {
            let sighting = Sighting {
                at: Timestamp(u64::from(number) * 1_000),
                interface: 0,
                flow: FlowId {
                    transport: Transport::Udp,
                    originator: Endpoint::new(originator, 6_881),
                    responder: Endpoint::new(responder, 51_413),
                },
                evidence: Evidence::new(technique, "rule", Confidence::Conclusive, speaker),
                proven,
                payload_len: 100,
            };
            judge.hear(&Report::Sighting(sighting), &answerable, &mut verdicts);
        }
        for verdict in verdicts.drain(..) {
            if let Verdict::Ban(ban) = verdict {
                manager.ban(ban.address, Duration::ZERO, ban.because.at, || {
                    event::reason(&ban)
                });
            }
        }
    }
    manager.active().map(|(element, _)| element.to_string()).collect()
}

#[test]
fn a_forged_flood_at_exempt_addresses_bans_nobody() {
    for target in ["auto", "source", "client", "remote", "both"] {
        let config = Config {
            ban_target: target.parse().unwrap(),
            allow: vec![ALLOWED.parse().unwrap()],
            ..Config::default()
        };
        let forged = banned_after(&config, &EXEMPT, Ends::NONE);
        assert_eq!(forged, [""; 0], "{target}: what is forged proves nothing");
        let proven = banned_after(&config, &EXEMPT, Ends::BOTH);
        assert!(
            !proven.iter().any(|address| EXEMPT.contains(&address.as_str())),
            "{target}: {proven:?}"
        );
    }
}

#[test]
fn the_same_flood_would_ban_others_but_only_so_many() {
    let config = Config {
        ban_target: "both".parse().unwrap(),
        max_bans_per_minute: 50,
        ..Config::default()
    };
    let banned = banned_after(&config, &[ALLOWED, "192.0.2.90"], Ends::BOTH);
    assert!(banned.iter().any(|address| address == ALLOWED), "{banned:?}");
    assert_eq!(banned.len(), 50);
}
