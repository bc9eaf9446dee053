//! Recorded packets inside a stream: somebody copies a capture, or mirrors traffic to where it is examined.
//!
//! | header | fields that must fit | bits |
//! |---|---|---|
//! | IPv4 | version and length 0x45, no fragment, protocol 6 or 17 | 30 |
//! | IPv6 | first byte 0x60, next header 6 or 17, both addresses of 2000::/4, fc00::/7 or fe00::/8 | 22 |
//! | TCP behind it | header of 5 words at least, reserved bits and urgent pointer 0 | 22 |
//! | UDP behind it | its length is that of the packet | 16 |
//!
//! What such a stream holds of the peer protocol was spoken by others. Checksums are not looked at: many captures were made
//! before the card had filled them in.

use memchr::memchr2_iter;

use crate::wire::array_at;

const TCP: u8 = 6;
const UDP: u8 = 17;

/// Whether the headers of a TCP or UDP packet stand anywhere in `bytes`.
pub(crate) fn holds_packet(bytes: &[u8]) -> bool {
    memchr2_iter(0x45, 0x60, bytes).any(|at| {
        let from = bytes.get(at..).unwrap_or_default();
        is_ipv4(from) || is_ipv6(from)
    })
}

fn is_ipv4(bytes: &[u8]) -> bool {
    let Some([0x45, _, l0, l1, _, _, 0 | 0x40, 0, 1..=255, protocol, ..]) = bytes.first_chunk::<20>() else {
        return false;
    };
    let length = u16::from_be_bytes([*l0, *l1]).checked_sub(20);
    length.is_some_and(|length| is_transport(*protocol, length, bytes.get(20..).unwrap_or_default()))
}

fn is_ipv6(bytes: &[u8]) -> bool {
    let Some([0x60, _, _, _, l0, l1, protocol, 1..=255, source, ..]) = bytes.first_chunk::<40>() else {
        return false;
    };
    let in_use = |first: u8| matches!(first, 0x20..=0x2f | 0xfc..=0xfe);
    in_use(*source)
        && bytes.get(24).is_some_and(|first| in_use(*first))
        && is_transport(
            *protocol,
            u16::from_be_bytes([*l0, *l1]),
            bytes.get(40..).unwrap_or_default(),
        )
}

/// Whether `bytes` begin a header of the protocol in a packet that holds `length` bytes of it.
fn is_transport(protocol: u8, length: u16, bytes: &[u8]) -> bool {
    match protocol {
        TCP => {
            let fields = array_at::<8>(bytes, 12);
            length >= 20
                && fields.is_some_and(|[words, flags, _, _, _, _, u0, u1]| {
                    words >= 0x50 && words & 0x0F == 0 && flags & 0xC0 == 0 && [u0, u1] == [0, 0]
                })
        }
        UDP => array_at(bytes, 4).map(u16::from_be_bytes) == Some(length),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::vec::Vec;

    const IPV4: &[u8] = b"\x45\0\x05\xdc\x12\x34\x40\0\x40\x06\0\0\x0a\x08\0\x07\xcb\0\x71\x09";
    const IPV6: &[u8] =
        b"\x60\0\0\0\x05\xdc\x06\x40\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\x01\xfd\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x02";
    const SEGMENT: &[u8] = b"\xc0\x01\x1a\xe1\x01\x02\x03\x04\x05\x06\x07\x08\x80\x18\x01\xf6\xab\xcd\0\0";

    fn with(parts: &[&[u8]], at: usize, byte: u8) -> Vec<u8> {
        let mut bytes = parts.concat();
        bytes[at] = byte;
        bytes
    }

    #[test]
    fn headers_of_packets_are_found_anywhere() {
        let datagram = b"\xc0\x01\x1a\xe1\x05\xc8\0\0";
        for shift in [0, 3, 900] {
            for (name, bytes, found) in [
                ("tcp in ipv4", [IPV4, SEGMENT].concat(), true),
                ("tcp in ipv6", [IPV6, SEGMENT].concat(), true),
                ("udp in ipv4", with(&[IPV4, datagram], 9, 17), true),
                (
                    "udp of another length",
                    with(&[IPV4, b"\xc0\x01\x1a\xe1\x05\xc9\0\0"], 9, 17),
                    false,
                ),
                ("another protocol", with(&[IPV4, SEGMENT], 9, 1), false),
                ("a fragment", with(&[IPV4, SEGMENT], 6, 0x20), false),
                ("an urgent pointer", with(&[IPV4, SEGMENT], 38, 1), false),
                ("a short header", with(&[IPV4, SEGMENT], 32, 0x40), false),
                ("multicast", with(&[IPV6, SEGMENT], 24, 0xff), false),
                ("ipv4 alone", IPV4.to_vec(), false),
                ("ipv6, cut", [IPV6, &SEGMENT[..19]].concat(), false),
            ] {
                let bytes = [&std::vec![0x45; shift][..], &bytes].concat();
                assert_eq!(holds_packet(&bytes), found, "{name} behind {shift}");
            }
        }
    }

    proptest! {
        #[test]
        fn random_bytes_are_no_packets(bytes in prop::collection::vec(any::<u8>(), 0..3000)) {
            prop_assert!(!holds_packet(&bytes));
        }
    }
}
