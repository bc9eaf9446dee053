//! Other protocols whose bytes resemble a rule's: nothing strong or conclusive may be said of them.

use crate::script::*;
use btblocker_detectors::Confidence;

fn padded(head: &[u8], len: usize) -> Vec<u8> {
    let mut bytes = head.to_vec();
    bytes.extend(random(len - head.len(), 77));
    bytes
}

fn dns(id: [u8; 2], question: &[u8]) -> Vec<u8> {
    [&id[..], &[1, 0, 0, 1, 0, 0, 0, 0, 0, 0], question, &[0, 1, 0, 1]].concat()
}

fn stun(kind: u16, len: u16) -> Vec<u8> {
    let head = [
        &kind.to_be_bytes()[..],
        &len.to_be_bytes(),
        &[0x21, 0x12, 0xa4, 0x42],
    ]
    .concat();
    padded(&head, 20 + usize::from(len))
}

#[test]
fn single_datagrams_of_other_protocols_are_nothing() {
    let mut dhcp = vec![1, 1, 6, 0];
    dhcp.extend([0; 232]);
    dhcp.extend([0x63, 0x82, 0x53, 0x63, 53, 1, 1, 255]);
    let table: Vec<(&str, Vec<u8>)> = vec![
        ("stun request", stun(0x0001, 8)),
        ("stun success", stun(0x0101, 12)),
        ("turn channel", padded(&[0x41, 0, 0, 16], 20)),
        ("turn channel 0x4102", padded(&[0x41, 2, 0, 26], 30)),
        ("dtls", padded(&[22, 0xfe, 0xfd, 0, 0], 90)),
        ("capwap dtls", padded(&[1, 0, 0, 0, 22, 0xfe, 0xff], 120)),
        ("quic long", padded(&[0xc3, 0, 0, 0, 1, 8], 1200)),
        ("quic short", padded(&[0x41], 60)),
        ("wireguard initiation", padded(&[1, 0, 0, 0], 148)),
        ("wireguard response", padded(&[2, 0, 0, 0], 92)),
        ("wireguard data", padded(&[4, 0, 0, 0], 128)),
        ("openvpn control", padded(&[0x21], 54)),
        ("openvpn data", padded(&[0x31], 120)),
        ("dhcp", dhcp),
        ("dns as a syn of 20 bytes", dns([0x41, 0], b"\x02ab\x00")),
        ("dns", dns([1, 0], b"\x07tracker\x07example\x03org\x00")),
        ("rtp", padded(&[0x80, 0x60], 172)),
        ("valve", padded(&[0xff, 0xff, 0xff, 0xff, b'T'], 25)),
        (
            "ssdp",
            b"M-SEARCH * HTTP/1.1\r\nHost: 239.255.255.250:1900\r\nST: ssdp:all\r\n\r\n".to_vec(),
        ),
        (
            "sip",
            b"OPTIONS sip:a@example.org SIP/2.0\r\nVia: SIP/2.0/UDP h\r\n\r\n".to_vec(),
        ),
        (
            "nfs as a scrape",
            padded(
                &[0x12, 0x34, 0x56, 0x78, 0, 0, 0, 0, 0, 0, 0, 2, 0, 1, 0x86, 0xa3],
                56,
            ),
        ),
        (
            "dnscrypt with a one at 8",
            padded(&[9, 8, 7, 6, 5, 4, 3, 2, 0, 0, 0, 1], 256),
        ),
        (
            "syslog that quotes",
            b"<13>Nov 21 app: d1:ad2:id20: BitTorrent protocol 5:added".to_vec(),
        ),
        (
            "magnet in a chat",
            b"magnet:?xt=urn:btih:000102030405060708090a0b0c0d0e0f10111213".to_vec(),
        ),
        ("redis", b"$6\r\nfoobar\r\n".to_vec()),
        ("kcp behind a header", padded(&[1, 0, 0x34, 0x56], 300)),
    ];
    for (name, bytes) in table {
        for round in 0..30 {
            let script: Vec<Step> = (0..=round)
                .map(|step| (if step % 2 == 0 { O } else { R }, step * 20, bytes.clone()))
                .collect();
            let said = play(&script);
            assert!(
                surest(&said) < Some(Confidence::Strong),
                "{name}: {:?}",
                said.iter().map(words).collect::<Vec<_>>()
            );
        }
    }
}

#[test]
fn a_flow_that_is_another_protocol_has_no_strong_utp() {
    let mut syn = vec![0x41, 0, 1, 2, 3, 4, 5, 6];
    syn.extend([0; 8]);
    syn.extend([9, 9, 0, 0]);
    check("alone", &[(O, 0, &syn, &["utp/syn strong O +"])]);
    check("after stun", &[(O, 0, &stun(0x0001, 8), &[]), (O, 1, &syn, &[])]);
}
