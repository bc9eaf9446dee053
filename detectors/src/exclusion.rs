//! Datagrams that certainly belong to another protocol whose bytes can imitate uTP.
//!
//! | protocol      | fixed content                                             | source            |
//! |---------------|-----------------------------------------------------------|-------------------|
//! | STUN          | two zero bits; 0x2112A442 at 4; length at 2 = size - 20   | RFC 8489 sec 5    |
//! | STUN of old   | 0x0001, 0x0101 or 0x0111; length at 2 = size - 20         | RFC 3489 sec 11.1 |
//! | TURN channel  | 0x40..=0x4F; length at 2 = size - 4, or up to 3 less      | RFC 8656 sec 12.4 |
//! | DTLS          | type 20..=25, version FE xx                               | RFC 6347 sec 4.1  |
//! | CAPWAP DTLS   | `01 00 00 00`, then a DTLS record                         | RFC 5415 sec 4.2  |
//! | QUIC long     | two one bits; version 1, 2 or a draft (FF0000xx), or Google's `Qxxx`, `Txxx` | RFC 9000 sec 17.2 |
//! | WireGuard     | type 1..=4, three zero bytes, 148, 92, 64 or 32 + 16 n bytes | WireGuard paper sec 5.4 |
//! | DHCP          | operation 1 or 2, 0x63825363 at 236                       | RFC 2131 sec 3    |
//! | IKE           | version 1.0 or 2.0 at 17, length at 24 = size             | RFC 7296 sec 3.1  |
//! | DNS           | a well-formed header with one question and a name         | RFC 1035 sec 4.1  |
//!
//! An exclusion silences what is only strong (uTP relations, encrypted streams) in the flow. It never
//! silences conclusive structure. Ports are not looked at: BitTorrent runs on every port.

use crate::wire::u32_at;

/// Whether a datagram of `wire_len` bytes certainly belongs to one of the protocols above.
pub(crate) fn is_other_protocol(bytes: &[u8], wire_len: u32) -> bool {
    match bytes {
        [0x00..=0x3f, _, l0, l1, 0x21, 0x12, 0xa4, 0x42, ..] => {
            u32::from(u16::from_be_bytes([*l0, *l1])) + 20 == wire_len
        }
        // Its servers send back 16 bytes that anybody chooses.
        [0x00, 0x01, l0, l1, ..] | [0x01, 0x01 | 0x11, l0, l1, ..]
            if u32::from(u16::from_be_bytes([*l0, *l1])) + 20 == wire_len =>
        {
            true
        }
        [0x40..=0x4f, _, l0, l1, ..] => {
            let length = u32::from(u16::from_be_bytes([*l0, *l1])) + 4;
            length > 4 && (length..length + 4).contains(&wire_len)
        }
        [20..=25, 0xfe, 0xfd..=0xff, ..] => true,
        [1, 0, 0, 0, 20..=25, 0xfe, 0xfd..=0xff, ..] => true,
        [0xc0..=0xff, 0, 0, 0, 1, ..]
        | [0xc0..=0xff, 0x6b, 0x33, 0x43, 0xcf, ..]
        | [0xc0..=0xff, 0xff, 0, 0, _, ..]
        | [0xc0..=0xff, b'Q' | b'T', b'0', b'0'..=b'9', b'0'..=b'9', ..] => true,
        [1, 0, 0, 0, ..] if wire_len == 148 => true,
        [2, 0, 0, 0, ..] if wire_len == 92 => true,
        [3, 0, 0, 0, ..] if wire_len == 64 => true,
        [4, 0, 0, 0, ..] if wire_len >= 32 && wire_len.is_multiple_of(16) => true,
        [1 | 2, 1 | 6, ..] if bytes.get(236..240) == Some(&[0x63, 0x82, 0x53, 0x63]) => true,
        _ => is_ike(bytes, wire_len) || is_dns(bytes),
    }
}

/// A whole message; its servers send back 8 bytes that anybody chooses.
fn is_ike(bytes: &[u8], wire_len: u32) -> bool {
    matches!(bytes.get(17), Some(0x10 | 0x20)) && u32_at(bytes, 24) == Some(wire_len)
}

/// A query or an answer with exactly one question whose name is complete. Names and classes are what anybody chooses, and
/// come back with the answer.
fn is_dns(bytes: &[u8]) -> bool {
    let [_, _, _, _, 0, 1, 0, _, 0, _, 0, _, name @ ..] = bytes else {
        return false;
    };
    let mut name = name;
    loop {
        name = match name {
            [0, _, _, _, _, ..] => return true,
            [length @ 1..=63, rest @ ..] => match rest.get(usize::from(*length)..) {
                Some(rest) => rest,
                None => return false,
            },
            _ => return false,
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec::Vec;

    #[test]
    fn only_what_is_certain_is_excluded() {
        let filled = |head: &[u8], len: usize| {
            let mut bytes = head.to_vec();
            bytes.resize(len, 0x55);
            bytes
        };
        let dhcp = {
            let mut bytes = filled(&[1, 1, 6, 0], 240);
            bytes.splice(236.., [0x63, 0x82, 0x53, 0x63]);
            bytes
        };
        let stun = [0, 1, 0, 8, 0x21, 0x12, 0xa4, 0x42];
        let table: &[(&str, Vec<u8>, bool)] = &[
            ("stun", filled(&stun, 28), true),
            ("stun of another length", filled(&stun, 29), false),
            ("old stun request", filled(&[0, 1, 0, 8], 28), true),
            ("old stun answer", filled(&[1, 1, 0, 0x44], 88), true),
            ("old stun error", filled(&[1, 0x11, 0, 8], 28), true),
            ("utp data with an extension", filled(&[1, 1, 0, 8], 29), false),
            (
                "ike",
                [&[7; 17][..], &[0x20, 34, 8, 0, 0, 0, 0, 0, 0, 0, 28]].concat(),
                true,
            ),
            (
                "dns with any bytes in its name, and any class",
                b"\x21\0\x81\x85\0\x01\0\0\0\0\0\0\x02\x90\xfe\0\0\x01\x12\x34".to_vec(),
                true,
            ),
            ("turn channel", filled(&[0x40, 1, 0, 10], 14), true),
            ("turn channel, padded", filled(&[0x40, 1, 0, 9], 16), true),
            (
                "turn channel of another length",
                filled(&[0x40, 1, 0, 10], 20),
                false,
            ),
            ("dtls", filled(&[22, 0xfe, 0xfd], 60), true),
            ("capwap dtls", filled(&[1, 0, 0, 0, 22, 0xfe, 0xff], 60), true),
            ("quic 1", filled(&[0xc0, 0, 0, 0, 1], 1200), true),
            ("quic 2", filled(&[0xd0, 0x6b, 0x33, 0x43, 0xcf], 1200), true),
            ("quic draft 29", filled(&[0xc3, 0xff, 0, 0, 29], 1200), true),
            ("google quic", filled(b"\xc3Q046", 1200), true),
            ("quic short", filled(&[0x41, 0x99, 0x88, 0x77], 1200), false),
            ("wireguard initiation", filled(&[1, 0, 0, 0], 148), true),
            ("wireguard response", filled(&[2, 0, 0, 0], 92), true),
            ("wireguard cookie", filled(&[3, 0, 0, 0], 64), true),
            ("wireguard keep-alive", filled(&[4, 0, 0, 0], 32), true),
            ("utp data of id 0", filled(&[1, 0, 0, 0], 149), false),
            ("dhcp", dhcp, true),
            (
                "dns",
                b"\x12\x34\x01\0\0\x01\0\0\0\0\0\0\x03www\x07example\0\0\x1c\0\x01".to_vec(),
                true,
            ),
            (
                "dns without its class",
                b"\x12\x34\x01\0\0\x01\0\0\0\0\0\0\x03www\0\0\x1c".to_vec(),
                false,
            ),
            ("utp syn", filled(&[0x41, 0, 0x12, 0x34], 20), false),
            (
                "dht",
                b"d1:ad2:id20:abcdefghij0123456789e1:q4:ping1:t2:aa1:y1:qe".to_vec(),
                false,
            ),
            ("nothing", Vec::new(), false),
        ];
        for (name, bytes, excluded) in table {
            let wire_len = u32::try_from(bytes.len()).expect("a datagram's size");
            assert_eq!(is_other_protocol(bytes, wire_len), *excluded, "{name}");
        }
    }
}
