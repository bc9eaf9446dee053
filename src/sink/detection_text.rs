//! A detection in writing: a block for people, a line for programs.

use std::fmt::Write;

use serde_json::json;

use super::detection::Detection;
use crate::event::{self, InfoHashes};

/// A block that ends with an empty line.
pub(super) fn block(detection: &Detection, info_hashes: &InfoHashes) -> String {
    let verdict = &detection.verdict;
    let (evidence, flow) = (&verdict.evidence, &verdict.flow);
    let mut text = format!("{} {}: {flow}\n", event::rfc3339(verdict.at), detection.interface);
    let mut line = |key: &str, value: &dyn std::fmt::Display| {
        // Writing to a string does not fail.
        let _ = writeln!(text, "  {key:<12} {value}");
    };
    line(
        "technique",
        &format_args!("{} {}", evidence.technique.name(), evidence.rule),
    );
    line(
        "confidence",
        &format_args!("{} ({})", evidence.confidence.name(), verdict.corroboration),
    );
    line("class", &evidence.class.name());
    line("speaker", &flow.end(evidence.speaker).ip());
    line(
        "client",
        &event::client_name(&evidence.client).unwrap_or_else(|| "unknown".to_owned()),
    );
    if let Some(info_hash) = info_hashes.show(evidence.info_hash) {
        line("info-hash", &info_hash);
    }
    line("payload", &format_args!("{} bytes", payload_bytes(detection)));
    match &detection.sample {
        Some(sample) => hex_dump(&mut text, sample.bytes()),
        None => text.push_str("  (the payload was not kept)\n"),
    }
    text.push('\n');
    text
}

/// One JSON object with a line feed; with the payload in hexadecimal when `with_payload`.
pub(super) fn json_line(detection: &Detection, info_hashes: &InfoHashes, with_payload: bool) -> String {
    let mut value = event::flow(
        ("interface", &detection.interface),
        &detection.verdict,
        info_hashes,
    );
    if let Some(object) = value.as_object_mut() {
        object.insert("event".to_owned(), json!("detection"));
        object.insert("payload_bytes".to_owned(), json!(payload_bytes(detection)));
        if let Some(sample) = detection.sample.as_ref().filter(|_| with_payload) {
            let mut hex = String::with_capacity(2 * sample.bytes().len());
            for byte in sample.bytes() {
                let _ = write!(hex, "{byte:02x}");
            }
            object.insert("payload".to_owned(), json!(hex));
        }
    }
    format!("{value}\n")
}

/// Size of the shown payload, which is not always that of the packet that led to the verdict.
fn payload_bytes(detection: &Detection) -> u32 {
    let sample = detection.sample.as_ref();
    sample.map_or(detection.verdict.payload_len, |sample| sample.wire_len)
}

/// Sixteen bytes per line: offset, hexadecimal, printable ASCII.
fn hex_dump(text: &mut String, bytes: &[u8]) {
    for (number, row) in bytes.chunks(16).enumerate() {
        let mut hex = String::with_capacity(48);
        for byte in row {
            let _ = write!(hex, "{byte:02x} ");
        }
        let show = |&byte: &u8| match byte {
            0x20..0x7f => char::from(byte),
            _ => '.',
        };
        let ascii: String = row.iter().map(show).collect();
        let _ = writeln!(text, "  {:04x}  {hex:<48} |{ascii}|", number * 16);
    }
}

#[cfg(test)]
mod tests {
    use super::super::detection::example;
    use super::*;

    fn plain() -> InfoHashes {
        InfoHashes::new(event::ShowInfoHash::Plain)
    }

    #[test]
    fn a_block_shows_everything_and_the_payload() {
        let detection = example(b"\x13BitTorrent protocol\x00\xff");
        let text = block(&detection, &plain());
        for part in [
            "2023-11-14T22:13:20.000000Z wg0: tcp 10.8.0.7:51413 > 203.0.113.9:6881\n",
            "  technique    handshake test\n",
            "  confidence   conclusive (conclusive by itself)\n",
            "  client       unknown\n",
            "  payload      22 bytes\n",
            "  0000  13 42 69 74 54 6f 72 72 65 6e 74 20 70 72 6f 74  |.BitTorrent prot|\n",
            "  0010  6f 63 6f 6c 00 ff                                |ocol..|\n\n",
        ] {
            assert!(text.contains(part), "{part:?} is not in {text}");
        }
        let without = block(
            &Detection {
                sample: None,
                ..detection
            },
            &plain(),
        );
        assert!(
            without.contains("payload      68 bytes\n  (the payload was not kept)\n\n"),
            "{without}"
        );
    }

    #[test]
    fn a_line_has_the_payload_only_when_asked() {
        let detection = example(b"\x13Bit");
        let read =
            |with| serde_json::from_str::<serde_json::Value>(&json_line(&detection, &plain(), with)).unwrap();
        let (with, without) = (read(true), read(false));
        assert_eq!(with["payload"], "13426974");
        assert_eq!(
            (
                &without["payload"],
                &without["payload_bytes"],
                &without["event"],
                &without["interface"]
            ),
            (&json!(null), &json!(4), &json!("detection"), &json!("wg0"))
        );
    }
}
