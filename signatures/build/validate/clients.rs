//! The file of client names.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;

use super::pattern::{Pattern, pattern};
use super::{Refusal, word};
use crate::words::VersionStyle;

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
pub fn read(file: &str, text: &str) -> Result<Clients, Vec<Refusal>> {
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
