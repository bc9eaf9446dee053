//! Local service discovery.

use crate::script::*;

pub(crate) const SEARCH: &[u8] = b"BT-SEARCH * HTTP/1.1\r\nHost: 239.192.152.143:6771\r\nPort: 6881\r\n\
Infohash: 000102030405060708090A0b0c0d0e0f10111213\r\ncookie: 1\r\n\r\n\r\n";

fn said(bytes: &[u8], multicast: bool) -> Vec<String> {
    let mut flow = Flow::new();
    flow.multicast = multicast;
    flow.show(O, 0, bytes).iter().map(words).collect()
}

#[test]
fn an_announcement_is_conclusive_in_multicast_and_proves_nobody() {
    assert_eq!(said(SEARCH, true), ["lsd/search conclusive O +"]);
    assert_eq!(said(SEARCH, false), ["lsd/search strong O +"]);
    let mut flow = Flow::new();
    flow.multicast = true;
    let evidence = flow.show(O, 0, SEARCH);
    let hash: [u8; 20] = core::array::from_fn(|index| u8::try_from(index).expect("less than 20"));
    assert_eq!(evidence[0].info_hash, Some(hash));
    assert!(flow.learned().is_empty(), "a forged one would name anybody");
}

#[test]
fn what_lacks_a_line_is_not_one() {
    let replaced = |from: &str, to: &str| {
        let text = String::from_utf8(SEARCH.to_vec()).expect("text");
        assert!(text.contains(from));
        text.replace(from, to).into_bytes()
    };
    for (name, bytes) in [
        ("ssdp", replaced("BT-SEARCH", "M-SEARCH")),
        ("version", replaced("HTTP/1.1", "HTTP/1.0")),
        ("port 0", replaced("6881", "0")),
        ("port too large", replaced("6881", "65536")),
        ("short hash", replaced("10111213", "101112")),
        ("no hash", replaced("Infohash", "Hash")),
        ("not hexadecimal", replaced("10111213", "1011121g")),
        ("in a text", [b"see: ", SEARCH].concat()),
    ] {
        let conclusive = said(&bytes, true).iter().any(|words| words.starts_with("lsd"));
        assert!(!conclusive, "{name}");
    }
}
