//! Reading of the data files, and refusal of what is wrong in them.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::words::{Anchor, Confidence, Transports, VersionStyle};

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

/// Fixed bits of a field's beginning.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Pattern {
    /// The fixed bits; open bits are 0.
    pub bytes: Vec<u8>,
    /// Which bits are fixed.
    pub mask: Vec<u8>,
}

impl Pattern {
    /// Number of fixed bits.
    pub fn fixed_bits(&self) -> u32 {
        self.mask.iter().map(|mask| mask.count_ones()).sum()
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

/// Reads one escape or plain character: the byte and its mask.
fn unit(text: &mut std::str::Chars<'_>, wild: bool) -> Option<Result<(u8, u8), String>> {
    let hex = |text: &mut std::str::Chars<'_>| {
        let digits: String = text.by_ref().take(2).collect();
        let byte = u8::from_str_radix(&digits, 16).ok();
        byte.filter(|_| digits.len() == 2 && !digits.starts_with('+'))
            .ok_or_else(|| format!("`{digits}` is not a byte in hexadecimal"))
    };
    let byte = match text.next()? {
        '\\' => match text.next() {
            Some('r') => Ok(b'\r'),
            Some('n') => Ok(b'\n'),
            Some('\\') => Ok(b'\\'),
            Some('?') if wild => return Some(Ok((0, 0))),
            Some('x') => match hex(text) {
                Ok(byte) if wild && text.as_str().starts_with('&') => {
                    text.next();
                    return Some(match hex(text) {
                        Ok(mask) if byte & !mask != 0 => {
                            Err(format!("{byte:#04x} has bits outside mask {mask:#04x}"))
                        }
                        Ok(mask) => Ok((byte, mask)),
                        Err(reason) => Err(reason),
                    });
                }
                byte => byte,
            },
            other => Err(format!("unknown escape `\\{}`", other.unwrap_or(' '))),
        },
        plain @ ' '..='~' => Ok(plain as u8),
        other => Err(format!("`{}` must be written as \\xHH", other.escape_default())),
    };
    Some(byte.map(|byte| (byte, 0xff)))
}

/// Reads a pattern.
pub fn pattern(text: &str) -> Result<Pattern, String> {
    let mut rest = text.chars();
    let units = std::iter::from_fn(|| unit(&mut rest, true)).collect::<Result<Vec<_>, _>>()?;
    let (bytes, mask) = units.into_iter().unzip();
    Ok(Pattern { bytes, mask })
}

/// Reads a sample.
pub fn sample(text: &str) -> Result<Vec<u8>, String> {
    let mut rest = text.chars();
    std::iter::from_fn(|| unit(&mut rest, false))
        .map(|unit| unit.map(|(byte, _)| byte))
        .collect()
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

/// A name, or a name with the style of its version.
#[derive(Deserialize)]
#[serde(untagged)]
enum RawName {
    Plain(String),
    Styled(RawStyledName),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawStyledName {
    name: String,
    version: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawConvention {
    name: String,
    #[serde(default)]
    at: usize,
    start: String,
    version: Option<RawVersion>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawVersion {
    at: usize,
    length: usize,
    style: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawClients {
    azureus: BTreeMap<String, RawName>,
    shadow: BTreeMap<String, String>,
    mainline: BTreeMap<String, String>,
    convention: Vec<RawConvention>,
    dht: BTreeMap<String, RawName>,
    agent: BTreeMap<String, String>,
}

/// A peer-id convention of one client.
#[derive(Debug)]
pub struct Convention {
    /// Where the pattern stands in the peer-id.
    pub at: usize,
    pub pattern: Pattern,
    pub name: String,
    pub style: VersionStyle,
    /// First byte of the version, and the first one after it.
    pub version: (usize, usize),
}

/// The tables of client names.
#[derive(Debug, Default)]
pub struct Clients {
    /// Sorted by code.
    pub azureus: Vec<([u8; 2], String, VersionStyle)>,
    pub shadow: Vec<(u8, String)>,
    pub mainline: Vec<(u8, String)>,
    /// In the order of the file: the first that fits counts.
    pub convention: Vec<Convention>,
    pub dht: Vec<([u8; 2], String, VersionStyle)>,
    /// Longest first.
    pub agent: Vec<(String, String)>,
}

fn style(name: &str) -> Result<VersionStyle, String> {
    word(
        "version style",
        name,
        VersionStyle::from_name(name),
        VersionStyle::ALL.iter().map(|word| word.name()),
    )
}

fn named(raw: RawName, usual: VersionStyle) -> Result<(String, VersionStyle), String> {
    let (name, style) = match raw {
        RawName::Plain(name) => (name, usual),
        RawName::Styled(styled) => (styled.name, style(&styled.version)?),
    };
    if name.is_empty() {
        Err("the name is empty".into())
    } else {
        Ok((name, style))
    }
}

fn code<const N: usize>(text: &str) -> Result<[u8; N], String> {
    let code = <[u8; N]>::try_from(text.as_bytes())
        .ok()
        .filter(|code| code.iter().all(u8::is_ascii_graphic));
    code.ok_or_else(|| format!("a code of {N} ASCII characters is expected"))
}

fn letter(text: &str, name: String) -> Result<(u8, String), String> {
    code(text).map(|[letter]| (letter, name))
}

fn convention(raw: RawConvention) -> Result<Convention, String> {
    let pattern = pattern(&raw.start).map_err(|reason| format!("start: {reason}"))?;
    let (style, version) = match raw.version {
        Some(version) => (style(&version.style)?, (version.at, version.at + version.length)),
        None => (VersionStyle::None, (0, 0)),
    };
    if pattern.fixed_bits() < 16 {
        return Err("start: at least 16 fixed bits are expected".into());
    }
    if raw.at + pattern.bytes.len() > 20 || version.1 > 20 {
        return Err("a peer-id has 20 bytes".into());
    }
    Ok(Convention {
        at: raw.at,
        pattern,
        name: raw.name,
        style,
        version,
    })
}

/// Reads the file of client names.
///
/// # Errors
/// Every entry that is refused, with the reason.
pub fn clients(file: &str, text: &str) -> Result<Clients, Vec<Refusal>> {
    let refuse = |entry: String, reason: String| Refusal {
        file: file.to_owned(),
        entry,
        reason,
    };
    let raw: RawClients =
        toml::from_str(text).map_err(|error| vec![refuse("clients".into(), error.to_string())])?;
    let mut clients = Clients::default();
    let mut refused = Vec::new();
    macro_rules! take {
        ($list:ident, $section:literal, $entries:expr, |$key:ident, $value:ident| $read:expr) => {
            for ($key, $value) in $entries {
                let entry = format!(concat!($section, " `{}`"), $key);
                match $read {
                    Ok(read) => clients.$list.push(read),
                    Err(reason) => refused.push(refuse(entry, reason)),
                }
            }
        };
    }
    take!(azureus, "azureus", raw.azureus, |key, value| {
        code(&key)
            .and_then(|code| named(value, VersionStyle::Dotted).map(|(name, style)| (code, name, style)))
    });
    take!(dht, "dht", raw.dht, |key, value| {
        code(&key).and_then(|code| named(value, VersionStyle::None).map(|(name, style)| (code, name, style)))
    });
    take!(shadow, "shadow", raw.shadow, |key, value| letter(&key, value));
    take!(mainline, "mainline", raw.mainline, |key, value| letter(
        &key, value
    ));
    let mut starts = BTreeSet::new();
    let conventions = raw.convention.into_iter().map(|raw| (raw.start.clone(), raw));
    take!(convention, "convention", conventions, |key, value| {
        if starts.insert((value.at, key)) {
            convention(value)
        } else {
            Err("start exists already".into())
        }
    });
    clients.agent = raw.agent.into_iter().collect();
    clients
        .agent
        .sort_by(|(a, _), (b, _)| b.len().cmp(&a.len()).then(a.cmp(b)));
    clients.azureus.sort_by_key(|(code, ..)| *code);
    if refused.is_empty() {
        Ok(clients)
    } else {
        Err(refused)
    }
}
