//! Reading of the data files, and refusal of what is wrong in them.

pub mod clients;
mod pattern;

use std::collections::BTreeMap;
use std::fmt;

use serde::Deserialize;
use serde::de::DeserializeOwned;

pub use pattern::Pattern;
use pattern::{pattern, sample};

use crate::words::{Anchor, Confidence, Transports};

/// Names of `Technique::name` in the crate `detectors`.
const TECHNIQUES: &[&str] = &[
    "handshake",
    "peer-message",
    "fast",
    "extension",
    "pex",
    "ut-metadata",
    "holepunch",
    "v2-hashes",
    "azureus",
    "mse",
    "entropy",
    "utp",
    "dht",
    "udp-tracker",
    "http",
    "lsd",
    "tls",
    "socks",
    "signature",
    "learned-peer",
    "fan-out",
];

/// Names of `Class::name` in the crate `detectors`.
const CLASSES: &[&str] = &[
    "bittorrent",
    "dht-maintenance",
    "delivery-optimization",
    "ace-stream",
    "resilio",
    "blizzard",
    "other-swarm",
    "socks",
];

/// Fewest fixed bits of a pattern at the start of a stream or datagram, where nothing was parsed before.
const START_BITS: u32 = 32;
/// Fewest fixed bits of a conclusive pattern where nothing was parsed before.
const CONCLUSIVE_BITS: u32 = 50;

/// An entry that is not taken into the tables.
#[derive(Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The file's name.
    pub file: String,
    /// The entry's id, code or position.
    pub entry: String,
    /// What is wrong.
    pub reason: String,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}: {}", self.file, self.entry, self.reason)
    }
}

/// A signature as written in a file.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawSignature {
    id: String,
    technique: String,
    class: String,
    anchor: String,
    transport: String,
    confidence: String,
    bytes: String,
    #[serde(default)]
    exact: bool,
    source: String,
    positive: String,
    negative: String,
}

/// A signature that passed every check.
#[derive(Debug)]
pub struct Signature {
    /// Name of the file it stands in.
    pub file: String,
    /// See the library's type of the same name for this and the other fields.
    pub id: String,
    pub technique: String,
    pub class: String,
    pub anchor: Anchor,
    pub transports: Transports,
    pub confidence: Confidence,
    pub pattern: Pattern,
    pub exact: bool,
    pub source: String,
    /// Message that holds the signature.
    pub positive: Vec<u8>,
    /// Message that does not.
    pub negative: Vec<u8>,
}

/// Looks a word up, naming the alternatives when there is no such word.
fn word<T>(
    field: &str,
    name: &str,
    found: Option<T>,
    known: impl Iterator<Item = &'static str>,
) -> Result<T, String> {
    found.ok_or_else(|| {
        format!(
            "unknown {field} `{name}`, expected one of: {}",
            known.collect::<Vec<_>>().join(", ")
        )
    })
}

impl Signature {
    fn check(file: &str, raw: RawSignature) -> Result<Self, String> {
        let kebab = |part: &str| {
            !part.is_empty()
                && part
                    .bytes()
                    .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit())
        };
        if !raw.id.split('-').all(kebab) {
            return Err("id must consist of lower-case letters and digits, divided by single dashes".into());
        }
        let listed = |known: &[&'static str], name: &str| known.contains(&name).then(|| name.to_owned());
        let technique = word(
            "technique",
            &raw.technique,
            listed(TECHNIQUES, &raw.technique),
            TECHNIQUES.iter().copied(),
        )?;
        let class = word(
            "class",
            &raw.class,
            listed(CLASSES, &raw.class),
            CLASSES.iter().copied(),
        )?;
        let anchors = Anchor::ALL.iter().map(|word| word.name());
        let anchor = word("anchor", &raw.anchor, Anchor::from_name(&raw.anchor), anchors)?;
        let transports = Transports::ALL.iter().map(|word| word.name());
        let transports = word(
            "transport",
            &raw.transport,
            Transports::from_name(&raw.transport),
            transports,
        )?;
        let confidences = Confidence::ALL.iter().map(|word| word.name());
        let confidence = word(
            "confidence",
            &raw.confidence,
            Confidence::from_name(&raw.confidence),
            confidences,
        )?;

        let pattern = pattern(&raw.bytes).map_err(|reason| format!("bytes: {reason}"))?;
        let bits = pattern.fixed_bits();
        if bits == 0 {
            return Err("bytes: no bit is fixed".into());
        }
        let start = matches!(anchor, Anchor::StreamStart | Anchor::DatagramStart);
        if start && (bits < START_BITS || pattern.mask.first() == Some(&0)) {
            return Err(format!(
                "bytes: {bits} fixed bits; the start of a stream or datagram needs {START_BITS}, some of them in the first byte"
            ));
        }
        let unparsed = start || anchor == Anchor::PeerMessage;
        if unparsed && confidence == Confidence::Conclusive && bits < CONCLUSIVE_BITS {
            return Err(format!(
                "bytes: {bits} fixed bits, a conclusive signature needs {CONCLUSIVE_BITS}"
            ));
        }
        let fitting = match anchor {
            Anchor::DatagramStart | Anchor::DhtMethod | Anchor::DhtVersion => transports == Transports::Udp,
            Anchor::HttpTarget
            | Anchor::HttpPathEnd
            | Anchor::HttpQueryKey
            | Anchor::HttpParameterOrder
            | Anchor::HttpUserAgent
            | Anchor::HttpContentType
            | Anchor::HttpBody => transports == Transports::Tcp,
            _ => true,
        };
        if !fitting {
            return Err(format!(
                "anchor {} does not exist on transport {}",
                anchor.name(),
                transports.name()
            ));
        }
        if raw.source.trim().is_empty() {
            return Err("source is empty".into());
        }
        let positive = sample(&raw.positive).map_err(|reason| format!("positive: {reason}"))?;
        let negative = sample(&raw.negative).map_err(|reason| format!("negative: {reason}"))?;
        if positive.is_empty() || negative.is_empty() {
            return Err("a sample is empty".into());
        }
        if positive == negative {
            return Err("the samples are equal".into());
        }
        Ok(Self {
            file: file.to_owned(),
            id: raw.id,
            technique,
            class,
            anchor,
            transports,
            confidence,
            pattern,
            exact: raw.exact || anchor.is_whole(),
            source: raw.source,
            positive,
            negative,
        })
    }
}

/// The entries of the array `name`, each with what to call it in a refusal.
fn entries(file: &str, text: &str, name: &str) -> Result<Vec<(String, toml::Value)>, Refusal> {
    let refuse = |reason: String| Refusal {
        file: file.to_owned(),
        entry: name.to_owned(),
        reason,
    };
    let mut table: toml::Table = text
        .parse()
        .map_err(|error: toml::de::Error| refuse(error.to_string()))?;
    let array = match table.remove(name) {
        Some(toml::Value::Array(array)) => array,
        _ => return Err(refuse(format!("there is no [[{name}]]"))),
    };
    if let Some(key) = table.keys().next() {
        return Err(refuse(format!("unknown key `{key}`")));
    }
    let called = |(place, value): (usize, toml::Value)| {
        let id = value
            .get("id")
            .and_then(toml::Value::as_str)
            .map(|id| format!("signature `{id}`"));
        (
            id.unwrap_or_else(|| format!("signature number {}", place + 1)),
            value,
        )
    };
    Ok(array.into_iter().enumerate().map(called).collect())
}

fn typed<T: DeserializeOwned>(value: toml::Value) -> Result<T, String> {
    value
        .try_into()
        .map_err(|error: toml::de::Error| error.to_string().trim_end().replace('\n', " "))
}

/// Reads the files of signatures, given by name and content, sorted by anchor and bytes.
///
/// # Errors
/// Every entry that is refused, with its file and the reason.
pub fn signatures(files: &[(String, String)]) -> Result<Vec<Signature>, Vec<Refusal>> {
    let mut accepted: Vec<Signature> = Vec::new();
    let mut refused = Vec::new();
    let mut ids = BTreeMap::new();
    let mut places = BTreeMap::new();
    for (file, text) in files {
        let entries = entries(file, text, "signature").unwrap_or_else(|refusal| {
            refused.push(refusal);
            Vec::new()
        });
        for (entry, value) in entries {
            let checked = typed(value)
                .and_then(|raw| Signature::check(file, raw))
                .and_then(|signature| {
                    if let Some(first) = ids.insert(signature.id.clone(), file.clone()) {
                        return Err(format!("the id exists already, in {first}"));
                    }
                    let place = (signature.anchor, signature.pattern.clone(), signature.exact);
                    match places.insert(place, signature.id.clone()) {
                        Some(first) => Err(format!("anchor and bytes are those of `{first}`")),
                        None => Ok(signature),
                    }
                });
            match checked {
                Ok(signature) => accepted.push(signature),
                Err(reason) => refused.push(Refusal {
                    file: file.clone(),
                    entry,
                    reason,
                }),
            }
        }
    }
    accepted.sort_by(|a, b| (a.anchor, &a.pattern, &a.id).cmp(&(b.anchor, &b.pattern, &b.id)));
    if refused.is_empty() {
        Ok(accepted)
    } else {
        Err(refused)
    }
}
