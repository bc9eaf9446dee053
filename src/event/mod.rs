//! What is told to the outside: verdicts as JSON Lines and as text.
//!
//! The JSON shapes are stable: keys are added, never renamed.

mod info_hash;
mod packets;
mod sample;

pub use info_hash::{InfoHashes, ShowInfoHash};

use btblocker_detectors::{Class, Client, Timestamp};
use serde_json::{Map, Value, json};

use crate::ban::Reason;
use crate::judge::{BanVerdict, FlowVerdict};

pub use packets::{CHUNK_BYTES, Chunk, PacketMeta, PacketSender, Packets, packets};
pub use sample::{SAMPLE_BYTES, Sample, SampleHome, SampleSender, Samples, samples};

/// RFC 3339 in UTC with microseconds: `2026-11-21T02:37:00.000001Z`.
pub fn rfc3339(at: Timestamp) -> String {
    let micros = i64::try_from(at.0).unwrap_or(i64::MAX);
    match jiff::Timestamp::from_microsecond(micros) {
        Ok(time) => format!("{time:.6}"),
        Err(_) => format!("{}.{:06}", at.0 / 1_000_000, at.0 % 1_000_000),
    }
}

/// What is known of the speaking program, as text.
pub fn client_name(client: &Client) -> Option<String> {
    match client {
        Client::Unknown => None,
        Client::PeerId(id) => Some(match btblocker_signatures::client_of_peer_id(id) {
            Some(name) => name.to_string(),
            None => printable(id),
        }),
        Client::DhtTag(tag) => Some(match btblocker_signatures::client_of_dht_tag(tag) {
            Some(name) => name.to_string(),
            None => printable(tag),
        }),
        Client::Name(name) => Some(printable(name)),
    }
}

/// Bytes up to the first zero, with everything unprintable as a dot.
fn printable(bytes: &[u8]) -> String {
    let end = bytes.iter().position(|&byte| byte == 0).unwrap_or(bytes.len());
    let show = |&byte: &u8| {
        if (0x20..0x7f).contains(&byte) {
            char::from(byte)
        } else {
            '.'
        }
    };
    bytes[..end].iter().map(show).collect()
}

/// `{"event":"flow",…}`: a flow is judged BitTorrent. `origin` is `("file", path)` or `("interface", name)`.
pub fn flow(origin: (&str, &str), verdict: &FlowVerdict, info_hashes: &InfoHashes) -> Value {
    let FlowVerdict {
        at,
        flow,
        evidence,
        corroboration,
        payload_len,
        ..
    } = verdict;
    let mut line = Map::new();
    line.insert("event".into(), json!("flow"));
    line.insert(origin.0.into(), json!(origin.1));
    line.insert("time".into(), json!(rfc3339(*at)));
    line.insert("proto".into(), json!(flow.transport.name()));
    line.insert("src".into(), json!(flow.originator.ip()));
    line.insert("sport".into(), json!(flow.originator.port));
    line.insert("dst".into(), json!(flow.responder.ip()));
    line.insert("dport".into(), json!(flow.responder.port));
    let verdict = match evidence.class {
        Class::BitTorrent | Class::DhtMaintenance => "bittorrent",
        other => other.name(),
    };
    line.insert("verdict".into(), json!(verdict));
    line.insert("class".into(), json!(evidence.class.name()));
    line.insert("technique".into(), json!(evidence.technique.name()));
    line.insert("rule".into(), json!(evidence.rule));
    line.insert("confidence".into(), json!(evidence.confidence.name()));
    line.insert("corroboration".into(), json!(corroboration.name()));
    line.insert("speaker".into(), json!(flow.end(evidence.speaker).ip()));
    line.insert("payload_bytes".into(), json!(payload_len));
    if let Some(client) = client_name(&evidence.client) {
        line.insert("client".into(), json!(client));
    }
    if let Some(info_hash) = info_hashes.show(evidence.info_hash) {
        line.insert("info_hash".into(), json!(info_hash));
    }
    Value::Object(line)
}

/// `{"event":"ban",…}`: a host is banned, or would be.
pub fn ban(origin: (&str, &str), verdict: &BanVerdict) -> Value {
    json!({
        "event": "ban",
        origin.0: origin.1,
        "time": rfc3339(verdict.because.at),
        "address": verdict.address,
        "technique": verdict.because.evidence.technique.name(),
        "rule": verdict.because.evidence.rule,
        "confidence": verdict.because.evidence.confidence.name(),
        "client": client_name(&verdict.client()),
        "reason": verdict.reason(),
    })
}

/// What the ban manager is to remember of a verdict.
pub fn reason(verdict: &BanVerdict) -> Reason {
    Reason {
        technique: verdict.because.evidence.technique.name().to_owned(),
        text: verdict.reason(),
        client: client_name(&verdict.client()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_with_microseconds() {
        assert_eq!(rfc3339(Timestamp(0)), "1970-01-01T00:00:00.000000Z");
        assert_eq!(
            rfc3339(Timestamp(1_790_000_000_000_001)),
            "2026-09-21T14:13:20.000001Z"
        );
        assert!(rfc3339(Timestamp(u64::MAX)).contains('.'));
    }

    #[test]
    fn names_of_clients_are_printable() {
        assert_eq!(client_name(&Client::Unknown), None);
        assert_eq!(
            client_name(&Client::name(b"qBittorrent/4.5\x00\xff")),
            Some("qBittorrent/4.5".into())
        );
        assert_eq!(client_name(&Client::name(b"a\x01b")), Some("a.b".into()));
    }
}
