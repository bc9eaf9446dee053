//! Classifies payloads with the crate `btblocker-detectors` alone: no capture, no kernel, no privileges.
//!
//! Usage: `printf 'd1:ad2:id20:...' | cargo run --example classify_payload [tcp|udp]`; without input from a pipe it
//! classifies a peer handshake and an HTTP request.

use std::io::{self, IsTerminal, Read};

use btblocker_detectors::{
    Evidence, Findings, Options, Side, StreamBuffers, TcpInspector, TcpSegment, Timestamp, UdpDatagram,
    UdpInspector,
};

/// What the first datagram of a UDP flow is.
fn datagram(payload: &[u8]) -> Vec<Evidence> {
    let (mut inspector, mut findings) = (UdpInspector::new(), Findings::new());
    let datagram = UdpDatagram {
        from: Side::Originator,
        at: Timestamp(0),
        payload,
        wire_len: u32::try_from(payload.len()).unwrap_or(u32::MAX),
        multicast: false,
    };
    inspector.datagram(&datagram, &Options::default(), &mut findings);
    findings.evidence().copied().collect()
}

/// What the first segment of a TCP flow is. A program that watches many flows keeps an inspector for each, and lends
/// it buffers while it asks for them.
fn segment(payload: &[u8]) -> Vec<Evidence> {
    let (mut inspector, mut findings) = (TcpInspector::new(), Findings::new());
    let mut buffers = StreamBuffers::new();
    let segment = TcpSegment {
        from: Side::Originator,
        at: Timestamp(0),
        sequence: 1,
        acknowledgement: None,
        window: u16::MAX,
        window_scale: None,
        syn: false,
        payload,
        wire_len: u32::try_from(payload.len()).unwrap_or(u32::MAX),
    };
    inspector.segment(&segment, Some(&mut buffers), &Options::default(), &mut findings);
    findings.evidence().copied().collect()
}

fn print(name: &str, evidence: &[Evidence]) {
    for found in evidence {
        println!(
            "{name}: {} {}, {}",
            found.technique.name(),
            found.rule,
            found.confidence.name()
        );
    }
    if evidence.is_empty() {
        println!("{name}: nothing is recognised");
    }
}

/// A peer handshake (BEP 3) of Transmission.
const HANDSHAKE: &[u8] =
    b"\x13BitTorrent protocol\0\0\0\0\0\x10\0\x05\x8a\x17\xf3\x52\xc9\x0e\xd4\x61\xb8\x2f\x99\x40\xe7\x1c\x5a\xa3\x76\xdd\x08\x3b-TR4050-abcdefghijkl";
/// An honest request.
const REQUEST: &[u8] = b"GET /bittorrent.html HTTP/1.1\r\nHost: example.org\r\n\r\n";

fn main() -> io::Result<()> {
    let mut input = Vec::new();
    if !io::stdin().is_terminal() {
        io::stdin().read_to_end(&mut input)?;
    }
    if input.is_empty() {
        print("handshake", &segment(HANDSHAKE));
        print("request", &segment(REQUEST));
    } else if std::env::args().nth(1).as_deref() == Some("tcp") {
        print("segment", &segment(&input));
    } else {
        print("datagram", &datagram(&input));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use btblocker_detectors::{Confidence, Technique};

    use super::*;

    #[test]
    fn a_handshake_is_conclusive_and_a_web_page_about_it_is_nothing() {
        let found = segment(HANDSHAKE);
        assert!(
            found
                .iter()
                .any(|found| found.technique == Technique::Handshake
                    && found.confidence == Confidence::Conclusive),
            "{found:?}"
        );
        assert!(segment(REQUEST).is_empty());
    }

    #[test]
    fn a_dht_query_is_recognised_in_a_datagram() {
        let query = b"d1:ad2:id20:\x8a\x17\xf3\x52\xc9\x0e\xd4\x61\xb8\x2f\x99\x40\xe7\x1c\x5a\xa3\x76\xdd\x08\x3be1:q4:ping1:t2:aa1:y1:qe";
        assert!(
            datagram(query)
                .iter()
                .any(|found| found.technique == Technique::Dht)
        );
        assert!(datagram(b"\0\x01\0\0\x21\x12\xa4\x42abcdefghijkl").is_empty());
    }
}
