//! How long a flow is looked at, and how often it is told.

use crate::bencoded::*;
use crate::script::*;
use btblocker_detectors::{Progress, Technique, UdpInspector};

#[test]
fn the_state_of_a_flow_is_small() {
    assert!(
        size_of::<UdpInspector>() <= 768,
        "{} bytes",
        size_of::<UdpInspector>()
    );
}

#[test]
fn a_flow_without_findings_is_done_after_24_datagrams() {
    let mut flow = Flow::new();
    for datagram in 1..=24 {
        flow.show(O, datagram, b"\x80 something else");
        let expected = if datagram < 24 {
            Progress::Packets
        } else {
            Progress::Done
        };
        assert_eq!(flow.progress, expected, "datagram {datagram}");
    }
    flow.show(O, 30, b"");
    assert_eq!(flow.progress, Progress::Done);
    assert_eq!(
        flow.show(O, 40, &ping(b"abcd")).len(),
        1,
        "the DHT is still looked for"
    );
    assert_eq!(flow.progress, Progress::Packets);
}

#[test]
fn a_recognised_flow_rests_until_it_is_rearmed() {
    let mut flow = Flow::new();
    assert_eq!(flow.show(O, 0, &ping(b"abcd")).len(), 1);
    for datagram in 0..200 {
        assert!(flow.show(O, datagram, &ping(b"abcd")).is_empty());
        assert_eq!(flow.progress, Progress::Packets);
    }
    assert!(flow.show(O, 200, &get_peers(b"abcd")).is_empty(), "rests");
    flow.inspector.rearm();
    assert_eq!(flow.show(O, 300, &ping(b"abcd")).len(), 1);
    assert_eq!(flow.show(O, 300, &get_peers(b"abcd")).len(), 1);
}

#[test]
fn what_is_proven_stays_proven() {
    let mut flow = Flow::new();
    flow.show(O, 0, &ping(b"abcd"));
    flow.show(R, 1, &response(b"", b"abcd"));
    flow.inspector.rearm();
    flow.show(O, 2, &ping(b"aa"));
    let said = flow.show(R, 3, &response(b"", b"aa"));
    assert_eq!(
        said.iter().map(words).collect::<Vec<_>>(),
        ["dht/response conclusive R +R"]
    );
}

#[test]
fn a_technique_that_is_off_says_nothing() {
    let mut flow = Flow::new();
    for technique in [Technique::Dht, Technique::Signature] {
        flow.options.set(technique, false);
    }
    assert!(flow.show(O, 0, &ping(b"abcd")).is_empty());
    flow.options.set(Technique::Utp, false);
    let steps = crate::utp::plaintext();
    let said: Vec<_> = steps
        .iter()
        .flat_map(|(from, at, bytes)| flow.show(*from, *at, bytes))
        .collect();
    assert!(said.iter().all(|one| one.technique != Technique::Utp));
    assert!(said.iter().any(|one| one.technique == Technique::Handshake));
}
