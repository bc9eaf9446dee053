//! What a flood can make the judge remember.

use std::net::{IpAddr, Ipv4Addr};

use btblocker_detectors::Transport;

use super::*;
use crate::judge::host::MAX_PENDING;

/// What is promised, in bytes.
const AT_MOST: usize = 260 * 1_024 * 1_024;

struct Anyone;

impl Addresses for Anyone {
    fn is_local(&self, _: IpAddr) -> bool {
        false
    }
    fn may_be_banned(&self, _: IpAddr) -> bool {
        true
    }
}

fn endpoint(number: usize) -> Endpoint {
    Endpoint::new(Ipv4Addr::from_bits(number as u32).into(), 6_881)
}

#[test]
fn all_tables_together_are_bounded() {
    let mut judge = Judge::new(Policy::default());
    let mut verdicts = Vec::new();
    for number in 0..MAX_LEARNED / 2 {
        let learned = LearnedPeer {
            at: Timestamp(number as u64),
            told: endpoint(number).address,
            endpoint: endpoint(7),
            from: btblocker_detectors::LearnedFrom::Tracker,
        };
        judge.hear(&Report::Learned(learned), &Anyone, &mut verdicts);
    }
    for number in 0..MAX_FLOWS / 2 {
        let seen = Sighting {
            at: Timestamp(number as u64),
            interface: 0,
            flow: FlowId {
                transport: Transport::Udp,
                originator: endpoint(0x0100_0000 + 2 * number),
                responder: endpoint(0x0100_0001 + 2 * number),
            },
            evidence: Evidence::new(Technique::Utp, "rule", Confidence::Strong, Side::Originator),
            proven: Ends::NONE,
            payload_len: 20,
        };
        judge.hear(&Report::Sighting(seen), &Anyone, &mut verdicts);
    }
    assert!(verdicts.is_empty());
    // Each of these hosts has one flow that waits; there can be more.
    let waiting = MAX_HOSTS * MAX_PENDING * size_of::<FlowId>();
    let taken = [
        judge.hosts.bytes(),
        judge.flows.bytes(),
        judge.learned.bytes(),
        waiting,
    ];
    let mib = taken.map(|bytes| bytes >> 20);
    println!(
        "bytes of a host: {}, of a flow: {}",
        size_of::<Host>(),
        size_of::<Record>()
    );
    println!("MiB of hosts, flows, learned endpoints, waiting flows: {mib:?}");
    assert!(taken.iter().sum::<usize>() <= AT_MOST, "{mib:?}");
}
