//! Forged floods against judge and ban manager together, as the daemon joins them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use btblocker_detectors::{Confidence, Endpoint, Ends, Evidence, Side, Technique, Timestamp, Transport};

use super::Answerable;
use crate::backend::DryRun;
use crate::ban::Manager;
use crate::config::Config;
use crate::event;
use crate::judge::{FlowId, Judge, Report, Sighting, Verdict};
use crate::network::{Hosts, Interface, InterfaceKind, Network, Prefix, Route};

const OWN: &str = "203.0.113.5";
const GATEWAY: &str = "203.0.113.1";
const RESOLVER: &str = "198.51.100.53";
const SSH_PEER: &str = "198.51.100.22";
const ALLOWED: &str = "192.0.2.77";
const BY_COMMAND: &str = "192.0.2.78";
const EXEMPT: [&str; 9] = [
    OWN,
    GATEWAY,
    RESOLVER,
    SSH_PEER,
    ALLOWED,
    BY_COMMAND,
    "127.0.0.5",
    "239.192.152.143",
    "255.255.255.255",
];
const OWN6: &str = "2001:db8:5::5";
const GATEWAY6: &str = "2001:db8:5::1";
const RESOLVER6: &str = "2001:db8:53::53";
const SSH_PEER6: &str = "2001:db8:22::22";
const ALLOWED6: &str = "2001:db8:77::77";
const BY_COMMAND6: &str = "2001:db8:78::78";
const EXEMPT6: [&str; 9] = [
    OWN6,
    GATEWAY6,
    RESOLVER6,
    SSH_PEER6,
    ALLOWED6,
    BY_COMMAND6,
    "::1",
    "ff15::efc0:988f",
    "fe80::1",
];

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
        addresses: vec![
            (address(OWN), Prefix::new(address(OWN), 24).unwrap()),
            (address(OWN6), Prefix::new(address(OWN6), 64).unwrap()),
        ],
    };
    let default = |any: &str, gateway: &str| Route {
        destination: Prefix::new(address(any), 0).unwrap(),
        interface: 2,
        gateway: Some(address(gateway)),
        table: 254,
    };
    Network {
        interfaces: vec![uplink],
        routes: vec![default("0.0.0.0", GATEWAY), default("::", GATEWAY6)],
        hosts: Hosts {
            resolvers: [RESOLVER, RESOLVER6].map(address).into(),
            ssh_peers: [SSH_PEER, SSH_PEER6].map(address).into(),
        },
    }
}

/// Who is banned after a flood of conclusive evidence that goes from `sources` to strangers and back, and
/// proves what `proven` says.
fn banned_after(config: &Config, sources: &[&str], proven: Ends) -> Vec<String> {
    let allowed = [BY_COMMAND, BY_COMMAND6].map(|text| text.parse().unwrap());
    let answerable = Answerable::new(config, &network(), &allowed);
    let mut judge = Judge::new(config.policy());
    let mut manager = Manager::new(
        Box::new(DryRun::default()),
        answerable.exemptions().clone(),
        config.ban_policy(),
    );
    let mut verdicts = Vec::new();
    for number in 0..3_000_u32 {
        let source: IpAddr = sources[number as usize % sources.len()].parse().unwrap();
        let stranger = match source {
            IpAddr::V4(_) => IpAddr::from(Ipv4Addr::from_bits(0x0801_0000 + number)),
            IpAddr::V6(_) => IpAddr::from(Ipv6Addr::from_bits(0x2600 << 112 | u128::from(number))),
        };
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
            allow: [ALLOWED, ALLOWED6].map(|text| text.parse().unwrap()).into(),
            ..Config::default()
        };
        for exempt in [EXEMPT, EXEMPT6] {
            let forged = banned_after(&config, &exempt, Ends::NONE);
            assert_eq!(forged, [""; 0], "{target}: what is forged proves nothing");
            let proven = banned_after(&config, &exempt, Ends::BOTH);
            assert!(
                !proven.iter().any(|address| exempt.contains(&address.as_str())),
                "{target}: {proven:?}"
            );
        }
    }
}

#[test]
fn the_same_flood_would_ban_others_but_only_so_many() {
    let config = Config {
        ban_target: "both".parse().unwrap(),
        max_bans_per_minute: 50,
        ..Config::default()
    };
    for sources in [[ALLOWED, "192.0.2.90"], [ALLOWED6, "2001:db8:90::90"]] {
        let banned = banned_after(&config, &sources, Ends::BOTH);
        assert!(banned.iter().any(|address| address == sources[0]), "{banned:?}");
        assert_eq!(banned.len(), 50);
    }
}
