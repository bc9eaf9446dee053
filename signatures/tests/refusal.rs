//! Bad entries are refused with the file, the entry and the reason.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod data_files;
#[path = "../build/validate/mod.rs"]
#[allow(unreachable_pub, dead_code, reason = "a module of the build script")]
mod validate;
#[path = "../src/words.rs"]
#[allow(unreachable_pub, dead_code, reason = "a module of the build script")]
mod words;

/// An entry that is accepted.
const GOOD: &str = r"
[[signature]]
id = 'connect'
technique = 'udp-tracker'
class = 'bittorrent'
anchor = 'datagram-start'
transport = 'udp'
confidence = 'conclusive'
bytes = '\x00\x00\x04\x17\x27\x10\x19\x80'
source = 'BEP 15'
positive = '\x00\x00\x04\x17\x27\x10\x19\x80\x00\x00\x00\x00tidt'
negative = '\x00\x00\x04\x17'
";

/// The refusals of `GOOD` with one line replaced, as text.
fn refusals(files: &[(&str, &str)]) -> Vec<String> {
    let files: Vec<_> = files
        .iter()
        .map(|(name, text)| ((*name).to_owned(), (*text).to_owned()))
        .collect();
    match validate::signatures(&files) {
        Ok(_) => Vec::new(),
        Err(refusals) => refusals.iter().map(ToString::to_string).collect(),
    }
}

#[test]
fn good_entries_are_accepted() {
    assert_eq!(refusals(&[("a.toml", GOOD)]), Vec::<String>::new());
    assert!(validate::signatures(&data_files::read(false)).is_ok());
}

#[test]
fn bad_entries_are_refused_with_the_reason() {
    #[rustfmt::skip]
    let cases = [
        ("id = 'connect'", "id = 'Connect'", "lower-case letters and digits"),
        ("id = 'connect'", "id = 'tracker--connect'", "divided by single dashes"),
        ("id = 'connect'", "", "missing field `id`"),
        ("technique = 'udp-tracker'", "technique = 'udp'", "unknown technique `udp`, expected one of: handshake"),
        ("class = 'bittorrent'", "class = 'torrent'", "unknown class `torrent`"),
        ("anchor = 'datagram-start'", "anchor = 'anywhere'", "unknown anchor `anywhere`"),
        ("anchor = 'datagram-start'", "anchor = 'http-body'", "anchor http-body does not exist on transport udp"),
        ("transport = 'udp'", "transport = 'tcp'", "anchor datagram-start does not exist on transport tcp"),
        ("transport = 'udp'", "transport = 'sctp'", "unknown transport `sctp`, expected one of: tcp, udp, any"),
        ("confidence = 'conclusive'", "confidence = 'sure'", "unknown confidence `sure`"),
        ("source = 'BEP 15'", "source = ' '", "source is empty"),
        ("source = 'BEP 15'", "", "missing field `source`"),
        ("source = 'BEP 15'", "sauce = 'BEP 15'", "unknown field `sauce`"),
        ("source = 'BEP 15'", "source = 15", "invalid type: integer"),
        ("negative = '\\x00\\x00\\x04\\x17'", "negative = ''", "a sample is empty"),
        ("negative = '\\x00\\x00\\x04\\x17'", "negative = '\\?'", "negative: unknown escape `\\?`"),
        ("negative = '\\x00\\x00\\x04\\x17'", "negative = '\\x00&ff'", ""),
        ("negative = '\\x00\\x00\\x04\\x17'", "", "missing field `negative`"),
    ];
    for (line, other, reason) in cases {
        assert!(GOOD.contains(line), "{line}");
        let found = refusals(&[("a.toml", &GOOD.replacen(line, other, 1))]);
        if reason.is_empty() {
            assert_eq!(found, Vec::<String>::new(), "{other}");
            continue;
        }
        let [refusal] = found.as_slice() else {
            panic!("{line} -> {other}: {found:?}")
        };
        let entry = if line.starts_with("id") {
            "a.toml: signature "
        } else {
            "a.toml: signature `connect`: "
        };
        assert!(
            refusal.starts_with(entry) && refusal.contains(reason),
            "{line} -> {other}: {refusal}"
        );
    }
}

#[test]
fn bad_bytes_are_refused_with_the_reason() {
    #[rustfmt::skip]
    let cases = [
        ("", "no bit is fixed"),
        (r"\?\?\?\?", "no bit is fixed"),
        ("abc", "24 fixed bits; the start of a stream or datagram needs 32"),
        (r"\?abcdefgh", "some of them in the first byte"),
        ("abcdef", "48 fixed bits, a conclusive signature needs 50"),
        (r"\x4", "bytes: `4` is not a byte in hexadecimal"),
        (r"\x+4abcdefgh", "bytes: `+4` is not a byte in hexadecimal"),
        (r"\xzz", "bytes: `zz` is not a byte in hexadecimal"),
        (r"\q", r"bytes: unknown escape `\q`"),
        (r"abcdefgh\", r"bytes: unknown escape `\ `"),
        ("\u{b5}Torrent", "must be written as \\xHH"),
        (r"\x0f&0e", "0x0f has bits outside mask 0x0e"),
        (r"\x0f&", "bytes: `` is not a byte in hexadecimal"),
    ];
    for (bytes, reason) in cases {
        let text = GOOD.replacen(r"\x00\x00\x04\x17\x27\x10\x19\x80", bytes, 1);
        let found = refusals(&[("a.toml", &text)]);
        let [refusal] = found.as_slice() else {
            panic!("{bytes}: {found:?}")
        };
        assert!(
            refusal.starts_with("a.toml: signature `connect`: bytes"),
            "{bytes}: {refusal}"
        );
        assert!(refusal.contains(reason), "{bytes}: {refusal}");
    }
}

#[test]
fn what_exists_already_is_refused() {
    let same_id = GOOD.replacen(r"\x19\x80", r"\x19\x81", 1);
    assert_eq!(
        refusals(&[("a.toml", GOOD), ("b.toml", &same_id)]),
        ["b.toml: signature `connect`: the id exists already, in a.toml"]
    );
    let same_place = GOOD.replacen("'connect'", "'other'", 1);
    assert_eq!(
        refusals(&[("a.toml", GOOD), ("b.toml", &same_place)]),
        ["b.toml: signature `other`: anchor and bytes are those of `connect`"]
    );
    let other_anchor = same_place.replacen("datagram-start", "peer-message", 1);
    assert_eq!(
        refusals(&[("a.toml", GOOD), ("b.toml", &other_anchor)]),
        Vec::<String>::new()
    );
}

#[test]
fn every_bad_entry_is_named_at_once() {
    let bad = GOOD.replacen("'bittorrent'", "'x'", 1);
    let found = refusals(&[("a.toml", &format!("{bad}{GOOD}")), ("b.toml", &bad)]);
    assert_eq!(found.len(), 2, "{found:?}");
}

#[test]
fn files_of_another_form_are_refused() {
    for (text, reason) in [
        ("", "there is no [[signature]]"),
        ("signature = 1", "there is no [[signature]]"),
        ("[[signature]", "TOML parse error"),
        ("[[signature]]\n[[signatures]]\n", "unknown key `signatures`"),
    ] {
        let found = refusals(&[("a.toml", text)]);
        let [refusal] = found.as_slice() else {
            panic!("{text}: {found:?}")
        };
        assert!(
            refusal.starts_with("a.toml: ") && refusal.contains(reason),
            "{text}: {refusal}"
        );
    }
}

#[test]
fn bad_client_entries_are_refused_with_the_reason() {
    let good = "[azureus]\nTR = 'Transmission'\n[shadow]\nA = 'ABC'\n[mainline]\nM = 'Mainline'\n\
                [[convention]]\nname = 'XBT'\nstart = 'XBT'\nversion = { at = 3, length = 3, style = 'triple' }\n\
                [dht]\nLT = 'libtorrent'\n[agent]\nTransmission = 'Transmission'\n";
    assert!(validate::clients::read("c.toml", good).is_ok());
    #[rustfmt::skip]
    let cases = [
        ("TR =", "TRX =", "azureus `TRX`: a code of 2 ASCII characters is expected"),
        ("'Transmission'", "''", "azureus `TR`: the name is empty"),
        ("'Transmission'", "{ name = 'T', version = 'x' }", "azureus `TR`: unknown version style `x`"),
        ("TR = 'Transmission'", "TR = 'T'\nTR = 'U'", "duplicate key"),
        ("A =", "AB =", "shadow `AB`: a code of 1 ASCII characters is expected"),
        ("M =", "MM =", "mainline `MM`: a code of 1 ASCII characters is expected"),
        ("LT =", "L =", "dht `L`: a code of 2 ASCII characters is expected"),
        ("start = 'XBT'", "start = 'X'", "convention `X`: start: at least 16 fixed bits are expected"),
        ("start = 'XBT'", "start = 'XBT'\nat = 18", "convention `XBT`: a peer-id has 20 bytes"),
        ("length = 3", "length = 30", "convention `XBT`: a peer-id has 20 bytes"),
        ("[dht]", "[[convention]]\nname = 'Y'\nstart = 'XBT'\n[dht]", "convention `XBT`: start exists already"),
        ("[agent]", "[agents]", "unknown field `agents`"),
    ];
    for (part, other, reason) in cases {
        assert!(good.contains(part), "{part}");
        let refusals = validate::clients::read("c.toml", &good.replacen(part, other, 1)).unwrap_err();
        let [refusal] = refusals.as_slice() else {
            panic!("{part} -> {other}: {refusals:?}")
        };
        let text = refusal.to_string();
        assert!(
            text.starts_with("c.toml: ") && text.contains(reason),
            "{part} -> {other}: {text}"
        );
    }
}
