//! Which other protocol a TCP stream certainly is, from its first bytes.
//!
//! | protocol | first bytes of a direction | source |
//! |---|---|---|
//! | TLS | content type 20..=23, version 03 00..=04, length 1..=16,640 | RFC 8446 section 5.1 |
//! | SSH | `SSH-` | RFC 4253 section 4.2 |
//! | HTTP | a method and a space, or `HTTP/1.` | RFC 9112 section 3 |
//! | other text | the first 16 bytes are printable or line ends | SMTP, IMAP, FTP, IRC and their like |
//! | length-prefixed | a 16- or 32-bit length in front that equals what follows it in the flight | RLPx, OpenVPN |
//! | known magics | SMB, WhatsApp's Noise header, Bitcoin, Zabbix, RTMP | the protocols' own documents |
//!
//! Excludes readings of the flow as BitTorrent's own messages; what HTTP and TLS say of it is read by `http` and `tls`.
//! Ports are not looked at.

use crate::wire::u32_at;

/// What a flow is by its first bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Protocol {
    /// Not known: BitTorrent, or anything opaque.
    #[default]
    Unknown,
    /// Encrypted and certainly not BitTorrent's own framing: TLS or SSH.
    Sealed,
    /// HTTP.
    Http,
    /// Another text protocol.
    Text,
    /// Another binary protocol.
    Binary,
}

const METHODS: [&[u8]; 8] = [
    b"GET ",
    b"POST ",
    b"HEAD ",
    b"PUT ",
    b"OPTIONS ",
    b"DELETE ",
    b"PATCH ",
    b"PROPFIND ",
];

const MAGICS: [&[u8]; 7] = [
    b"\xf9\xbe\xb4\xd9", // Bitcoin main network
    b"ZBXD",             // Zabbix
    b"ED\0\x01",         // WhatsApp
    b"WA\x04\0",         // WhatsApp
    b"WA\x05\x02",       // WhatsApp
    b"WA\x06\x03",       // WhatsApp
    b"\xff\xff\xff\xffSpl",
];

/// Whether `bytes` begin an HTTP request.
pub(crate) fn is_http_request(bytes: &[u8]) -> bool {
    METHODS.iter().any(|method| bytes.starts_with(method))
}

/// The protocol whose stream begins with `bytes`; [`Protocol::Unknown`] while they are too few.
pub(crate) fn of_start(bytes: &[u8]) -> Protocol {
    if is_tls(bytes) || bytes.starts_with(b"SSH-") {
        Protocol::Sealed
    } else if is_http_request(bytes) || bytes.starts_with(b"HTTP/1.") {
        Protocol::Http
    } else if MAGICS.iter().any(|magic| bytes.starts_with(magic)) || is_smb(bytes) || is_mqtt(bytes) {
        Protocol::Binary
    } else if is_text(bytes) {
        Protocol::Text
    } else {
        Protocol::Unknown
    }
}

/// Whether a TLS record begins. Its length bounds what random bytes could imitate: 3 of 256 values of two bytes
/// and a quarter of a third, 1 in 10^5.
pub(crate) fn is_tls(bytes: &[u8]) -> bool {
    match bytes {
        [20..=23, 3, 0..=4, high, low, ..] => (1..=16_640).contains(&u16::from_be_bytes([*high, *low])),
        _ => false,
    }
}

/// Whether a TLS record of application data begins: 1 in 67 million random segments.
pub(crate) fn is_tls_data(bytes: &[u8]) -> bool {
    bytes.starts_with(&[23, 3, 3]) && is_tls(bytes)
}

/// NetBIOS session header and `\xffSMB` or `\xfeSMB`.
fn is_smb(bytes: &[u8]) -> bool {
    matches!(bytes, [0, _, _, _, 0xFD..=0xFF, b'S', b'M', b'B', ..])
}

/// The first packet of a client (MQTT 3.1.1 section 3.1): a length of one to four bytes, and the protocol's name.
fn is_mqtt(bytes: &[u8]) -> bool {
    let Some((0x10, rest)) = bytes.split_first() else {
        return false;
    };
    let length = rest.iter().take(4).take_while(|byte| **byte >= 0x80).count() + 1;
    let name = rest.get(length..).unwrap_or(&[]);
    name.starts_with(b"\0\x04MQTT") || name.starts_with(b"\0\x06MQIsdp")
}

/// Commands such as `USER` and greetings such as `220 ` are shorter than 16 bytes only with their line end.
fn is_text(bytes: &[u8]) -> bool {
    const ENOUGH: usize = 16;
    let head = bytes.get(..ENOUGH).unwrap_or(bytes);
    let complete = head.len() == ENOUGH || (head.len() >= 4 && head.ends_with(b"\r\n"));
    complete
        && head
            .iter()
            .all(|byte| (0x20..0x7F).contains(byte) || matches!(byte, b'\t' | b'\r' | b'\n'))
}

/// Whether a flight of `len` bytes that begins with `bytes` states its own length in its first 2 or 4 bytes,
/// either byte order, counting itself or not. Random bytes do with a probability of about 1e-4.
pub(crate) fn states_length(bytes: &[u8], len: u16) -> bool {
    let (Some(&[a, b]), Some(word)) = (bytes.first_chunk::<2>(), u32_at(bytes, 0)) else {
        return false;
    };
    let len = u32::from(len);
    let after = |prefix: u32| len.checked_sub(prefix);
    [
        u32::from(u16::from_be_bytes([a, b])),
        u32::from(u16::from_le_bytes([a, b])),
    ]
    .iter()
    .any(|&stated| stated == len || Some(stated) == after(2))
        || [word, word.swap_bytes()]
            .iter()
            .any(|&stated| stated == len || Some(stated) == after(4))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_bytes_name_the_protocol() {
        for (name, bytes, expected) in [
            (
                "client hello",
                &b"\x16\x03\x01\x02\x00\x01\x00"[..],
                Protocol::Sealed,
            ),
            ("message broker", b"\x10\x8d\x01\0\x04MQTT\x04", Protocol::Binary),
            ("application data", b"\x17\x03\x03\x00\x45", Protocol::Sealed),
            ("impossible record", b"\x17\x03\x03\xff\xff", Protocol::Unknown),
            ("ssh", b"SSH-2.0-OpenSSH_9.2", Protocol::Sealed),
            ("request", b"GET /announce HTTP/1.1\r\n", Protocol::Http),
            ("response", b"HTTP/1.1 200 OK\r\n", Protocol::Http),
            ("smtp", b"220 mail.example.org ESMTP\r\n", Protocol::Text),
            ("irc", b"NICK a\r\n", Protocol::Text),
            ("smb", b"\0\0\0\x54\xfeSMB\x40\0", Protocol::Binary),
            ("handshake", crate::handshake::PREFIX, Protocol::Unknown),
            ("cut text", b"NIC", Protocol::Unknown),
            ("nothing", b"", Protocol::Unknown),
        ] {
            assert_eq!(of_start(bytes), expected, "{name}");
        }
    }

    #[test]
    fn stated_lengths_are_recognised() {
        for (bytes, len, expected) in [
            (&b"\x01\x00zz"[..], 258, true),
            (b"\x00\x01zz", 258, true),
            (b"\x01\x02zz", 258, true),
            (b"\0\0\x00\x60", 100, true),
            (b"\x60\0\0\0", 100, true),
            (b"\xa7\x31\x60\x91", 100, false),
            (b"\x01", 1, false),
        ] {
            assert_eq!(states_length(bytes, len), expected, "{bytes:?}");
        }
    }
}
