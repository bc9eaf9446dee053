//! SSL torrents: TLS to a server whose name is an info-hash.
//!
//! Source: the server name of libtorrent's SSL torrents as seen on the wire; RFC 8446 sections 4.1.2 and 5.1, RFC 6066
//! section 3.
//!
//! | offset | size | field | check |
//! |---|---|---|---|
//! | 0 | 1 | content type | handshake (22) |
//! | 5 | 1 | message | client hello (1) |
//! | 9 | 34 | version, random | |
//! | 43 | 1, then as stated | session id | stepped over |
//! | | 2, then as stated | cipher suites | stepped over |
//! | | 1, then as stated | compression methods | stepped over |
//! | | 2 | length of the extensions | |
//! | | 4, then as stated | extensions | until that of the server's name (0) |
//!
//! Strong: 40 hexadecimal digits and no dot are no name of the DNS, but a program may call its servers by digests of
//! something else. Inside uTP the two techniques agree. Not seen: a hello whose name lies behind the first record.

use crate::wire::{array_at, byte_at, hexadecimal};
use crate::{Confidence, Evidence, InfoHash, Side, Technique};

/// Hexadecimal digits of an info-hash.
const DIGITS: usize = 40;
/// Extensions before the server's name that are stepped over at most.
const MOST_EXTENSIONS: usize = 32;

/// What the hello with which the stream begins says; `None` also while it is too short.
pub(crate) fn hello(bytes: &[u8], speaker: Side) -> Option<Evidence> {
    let info_hash = torrent(bytes)?;
    let evidence = Evidence::new(Technique::Tls, "torrent-name", Confidence::Strong, speaker);
    Some(evidence.of_torrent(info_hash))
}

fn torrent(bytes: &[u8]) -> Option<InfoHash> {
    if byte_at(bytes, 0) != Some(22) || byte_at(bytes, 5) != Some(1) {
        return None;
    }
    let short = |at: usize| array_at(bytes, at).map(|two| usize::from(u16::from_be_bytes(two)));
    let session = 43;
    let ciphers = session + 1 + usize::from(byte_at(bytes, session)?);
    let compressions = ciphers + 2 + short(ciphers)?;
    let mut extension = compressions + 1 + usize::from(byte_at(bytes, compressions)?) + 2;
    for _ in 0..MOST_EXTENSIONS {
        let (kind, len) = (short(extension)?, short(extension + 2)?);
        if kind == 0 {
            // One name, of the kind "host name": lengths of the extension and of the list fit.
            let fits = len == DIGITS + 5
                && short(extension + 4)? == DIGITS + 3
                && byte_at(bytes, extension + 6)? == 0
                && short(extension + 7)? == DIGITS;
            let name = bytes.get(extension + 9..)?.get(..DIGITS)?;
            return if fits { hexadecimal(name) } else { None };
        }
        extension += 4 + len;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec::Vec;

    /// A client hello with these extensions.
    fn client_hello(extensions: &[(u16, Vec<u8>)]) -> Vec<u8> {
        let mut tail = Vec::new();
        for (kind, body) in extensions {
            tail.extend(kind.to_be_bytes());
            tail.extend((body.len() as u16).to_be_bytes());
            tail.extend(body);
        }
        let mut body = vec![3, 3];
        body.extend((0..32).map(|n| n * 7));
        body.extend([2, 8, 9, 0, 4, 0x13, 1, 0x13, 2, 1, 0]);
        body.extend((tail.len() as u16).to_be_bytes());
        body.extend(tail);
        let mut record = vec![22, 3, 1];
        record.extend((body.len() as u16 + 4).to_be_bytes());
        record.extend([1, 0]);
        record.extend((body.len() as u16).to_be_bytes());
        record.extend(body);
        record
    }

    fn server_name(name: &[u8]) -> (u16, Vec<u8>) {
        let len = name.len() as u16;
        let mut body = (len + 3).to_be_bytes().to_vec();
        body.push(0);
        body.extend(len.to_be_bytes());
        body.extend(name);
        (0, body)
    }

    const HEX: &[u8; 40] = b"54ecff8ff99256d604a4ce8d64f0d55a55c071cc";

    #[test]
    fn a_server_named_by_an_info_hash_is_a_torrents() {
        let versions = (43, vec![4, 3, 4, 3, 3]);
        for extensions in [
            vec![server_name(HEX)],
            vec![server_name(HEX), versions.clone()],
            vec![versions, (21, vec![0; 300]), server_name(HEX)],
        ] {
            let bytes = client_hello(&extensions);
            let found = hello(&bytes, Side::Originator).unwrap();
            assert_eq!(
                (found.technique, found.confidence),
                (Technique::Tls, Confidence::Strong)
            );
            assert_eq!(found.info_hash.unwrap()[..3], [0x54, 0xec, 0xff]);
        }
    }

    #[test]
    fn other_names_other_messages_and_cut_ones_say_nothing() {
        let dotted = b"54ecff8ff99256d604a4ce8d64f0d55a55c0.org";
        let long = [&HEX[..], b"0123456789abcdef01234567"].concat();
        for name in [&b"example.org"[..], dotted, &HEX[..39], &long, b""] {
            assert_eq!(
                hello(&client_hello(&[server_name(name)]), Side::Originator),
                None,
                "{name:?}"
            );
        }
        // The name in another extension, and in a message that is no hello.
        let (_, body) = server_name(HEX);
        assert_eq!(hello(&client_hello(&[(1, body)]), Side::Originator), None);
        let whole = client_hello(&[server_name(HEX)]);
        for (at, value) in [(0, 23), (5, 2)] {
            let mut bytes = whole.clone();
            bytes[at] = value;
            assert_eq!(hello(&bytes, Side::Originator), None);
        }
        for end in 0..whole.len() {
            assert_eq!(hello(&whole[..end], Side::Originator), None, "{end}");
        }
        assert!(hello(&whole, Side::Originator).is_some());
    }

    #[test]
    fn a_name_list_that_does_not_fit_its_lengths_says_nothing() {
        let (_, body) = server_name(HEX);
        for at in [0, 1, 2, 3, 4] {
            let mut wrong = body.clone();
            wrong[at] ^= 1;
            assert_eq!(
                hello(&client_hello(&[(0, wrong)]), Side::Originator),
                None,
                "{at}"
            );
        }
    }
}
