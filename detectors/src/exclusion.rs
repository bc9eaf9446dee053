//! Datagrams that certainly belong to another protocol whose bytes can imitate uTP.
//!
//! | protocol      | fixed content                                             | source            |
//! |---------------|-----------------------------------------------------------|-------------------|
//! | STUN          | two zero bits; 0x2112A442 at 4; length at 2 = size - 20   | RFC 8489 sec 5    |
//! | TURN channel  | 0x40..=0x4F; length at 2 = size - 4, or up to 3 less      | RFC 8656 sec 12.4 |
//! | DTLS          | type 20..=25, version FE xx                               | RFC 6347 sec 4.1  |
//! | CAPWAP DTLS   | `01 00 00 00`, then a DTLS record                         | RFC 5415 sec 4.2  |
//! | QUIC long     | two one bits; version 1, 2 or a draft (FF0000xx), or Google's `Qxxx`, `Txxx` | RFC 9000 sec 17.2 |
//! | WireGuard     | type 1..=4, three zero bytes, 148, 92, 64 or 32 + 16 n bytes | WireGuard paper sec 5.4 |
//! | DHCP          | operation 1 or 2, 0x63825363 at 236                       | RFC 2131 sec 3    |
//! | DNS           | a well-formed header with one question and a name         | RFC 1035 sec 4.1  |
//!
//! An exclusion silences what is only strong (uTP relations, encrypted streams) in the flow. It never
//! silences conclusive structure. Ports are not looked at: BitTorrent runs on every port.

/// Whether a datagram of `wire_len` bytes certainly belongs to one of the protocols above.
pub(crate) fn is_other_protocol(bytes: &[u8], wire_len: u32) -> bool {
    match bytes {
        [0x00..=0x3f, _, l0, l1, 0x21, 0x12, 0xa4, 0x42, ..] => {
            u32::from(u16::from_be_bytes([*l0, *l1])) + 20 == wire_len
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
        _ => is_dns(bytes),
    }
}

/// A query or an answer with exactly one question whose name is complete and printable.
fn is_dns(bytes: &[u8]) -> bool {
    let [_, _, _, _, 0, 1, _, _, _, _, _, _, name @ ..] = bytes else {
        return false;
    };
    let mut name = name;
    loop {
        name = match name {
            [0, _, _, 0, 1 | 255, ..] => return true,
            [length @ 1..=63, rest @ ..] => match rest.split_at_checked(usize::from(*length)) {
                Some((label, rest)) if label.iter().all(u8::is_ascii_graphic) => rest,
                _ => return false,
            },
            _ => return false,
        };
    }
}
