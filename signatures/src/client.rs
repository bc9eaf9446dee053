//! Names of the programs that speak, for reports.
//!
//! Peer-ids, tags and user agents can be chosen freely by whoever sends them, so a name is never a
//! reason to ban. The conventions are those of BEP 20 and of the client sources named in
//! `data/clients.toml`.

use core::fmt;

use crate::matcher::Pattern;
use crate::tables::{AGENTS, AZUREUS, CONVENTIONS, DHT_TAGS, MAINLINE, SHADOW};
use crate::text::Text;
use crate::version;
use crate::words::VersionStyle;

/// A two-letter code of the Azureus convention.
#[derive(Debug)]
pub(crate) struct Azureus {
    pub(crate) code: [u8; 2],
    pub(crate) name: &'static str,
    pub(crate) style: VersionStyle,
}

/// A peer-id convention of one client.
#[derive(Debug)]
pub(crate) struct Convention {
    /// Where the pattern stands in the peer-id.
    pub(crate) at: usize,
    pub(crate) pattern: Pattern,
    pub(crate) name: &'static str,
    pub(crate) style: VersionStyle,
    /// First byte of the version, and the first one after it.
    pub(crate) version: (usize, usize),
}

/// The first two bytes of a DHT tag.
#[derive(Debug)]
pub(crate) struct DhtTag {
    pub(crate) tag: [u8; 2],
    pub(crate) name: &'static str,
    pub(crate) style: VersionStyle,
}

/// Name and version of a program. Displayed as `Transmission 4.0.6`, and a program that is not in the
/// tables as `unknown client XY 1.2.3`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClientName {
    name: Name,
    version: Text,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Name {
    Known(&'static str),
    /// Two ASCII letters or digits of a code that is not in the tables.
    Code(Text),
}

impl ClientName {
    const fn known(name: &'static str, version: Text) -> Self {
        Self {
            name: Name::Known(name),
            version,
        }
    }

    /// The program's name; `None` when only an unknown two-letter code was found.
    pub const fn name(&self) -> Option<&'static str> {
        match self.name {
            Name::Known(name) => Some(name),
            Name::Code(_) => None,
        }
    }

    /// The version as text of at most 16 ASCII bytes, `None` where none was written.
    pub fn version(&self) -> Option<&str> {
        Some(self.version.as_str()).filter(|version| !version.is_empty())
    }
}

impl fmt::Display for ClientName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.name {
            Name::Known(name) => f.write_str(name)?,
            Name::Code(code) => write!(f, "unknown client {}", code.as_str())?,
        }
        self.version().map_or(Ok(()), |version| write!(f, " {version}"))
    }
}

/// The program that made a peer-id (BEP 3, BEP 20). `None` for one that follows no known convention.
pub fn client_of_peer_id(peer_id: &[u8; 20]) -> Option<ClientName> {
    // Known codes first: several other conventions are so short that they also fit into a version.
    let azureus = azureus(peer_id);
    azureus
        .filter(|client| client.name().is_some())
        .or_else(|| convention(peer_id))
        .or_else(|| shadow(peer_id))
        .or_else(|| mainline(peer_id))
        .or(azureus)
}

/// `-XY1234-` and twelve bytes of any kind.
fn azureus(peer_id: &[u8; 20]) -> Option<ClientName> {
    let [b'-', x, y, version @ .., b'-'] = peer_id.first_chunk::<8>()? else {
        return None;
    };
    let code = [*x, *y];
    if let Ok(found) = AZUREUS.binary_search_by_key(&code, |entry| entry.code) {
        let entry = AZUREUS.get(found)?;
        let written = version.iter().all(u8::is_ascii_graphic);
        return written.then(|| ClientName::known(entry.name, version::decode(entry.style, version)));
    }
    let alphanumeric = code.iter().chain(version).all(u8::is_ascii_alphanumeric);
    alphanumeric.then(|| ClientName {
        name: Name::Code(Text::word(&code)),
        version: version::decode(VersionStyle::Dotted, version),
    })
}

/// The conventions that single clients made up.
fn convention(peer_id: &[u8; 20]) -> Option<ClientName> {
    let fits = |entry: &&Convention| {
        peer_id
            .get(entry.at..)
            .is_some_and(|id| entry.pattern.matches(id))
    };
    let entry = CONVENTIONS.iter().find(fits)?;
    let (from, to) = entry.version;
    let version = version::decode(entry.style, peer_id.get(from..to)?);
    Some(ClientName::known(entry.name, version))
}

/// One letter, up to five version characters padded with dashes, three dashes.
fn shadow(peer_id: &[u8; 20]) -> Option<ClientName> {
    let [letter, version @ .., b'-', b'-', b'-'] = peer_id.first_chunk::<9>()? else {
        return None;
    };
    let (_, name) = SHADOW.iter().find(|(known, _)| known == letter)?;
    let used = version
        .iter()
        .position(|byte| *byte == b'-')
        .unwrap_or(version.len());
    let (digits, padding) = version.split_at_checked(used)?;
    if digits.is_empty() || padding.iter().any(|byte| *byte != b'-') {
        return None;
    }
    let mut text = Text::default();
    for (place, byte) in digits.iter().enumerate() {
        // Digits, capitals, small letters and a point count from 0 to 62.
        let number = match byte {
            b'0'..=b'9' => byte - b'0',
            b'A'..=b'Z' => byte - b'A' + 10,
            b'a'..=b'z' => byte - b'a' + 36,
            b'.' => 62,
            _ => return None,
        };
        let point = if place == 0 { "" } else { "." };
        // Writing to a `Text` cannot fail.
        let _ = fmt::Write::write_fmt(&mut text, format_args!("{point}{number}"));
    }
    Some(ClientName::known(name, text))
}

/// One letter, three decimal numbers divided by dashes, a dash.
fn mainline(peer_id: &[u8; 20]) -> Option<ClientName> {
    let (letter, rest) = peer_id.split_first()?;
    let (_, name) = MAINLINE.iter().find(|(known, _)| known == letter)?;
    let mut groups = rest.splitn(4, |byte| *byte == b'-');
    let numbers = groups
        .by_ref()
        .take(3)
        .filter(|group| (1..=3).contains(&group.len()) && group.iter().all(u8::is_ascii_digit));
    (numbers.count() == 3 && groups.next().is_some())
        .then(|| ClientName::known(name, version::decode(VersionStyle::Dashes, rest)))
}

/// The program that sent a DHT message with this `v` (BEP 5). `None` for a tag that is not in the table.
pub fn client_of_dht_tag(tag: &[u8; 4]) -> Option<ClientName> {
    let (code, version) = tag.split_first_chunk::<2>()?;
    let entry = DHT_TAGS.iter().find(|entry| entry.tag == *code)?;
    Some(ClientName::known(
        entry.name,
        version::decode(entry.style, version),
    ))
}

/// The program that calls itself so in an HTTP user agent or in `v` of an extended handshake (BEP 10),
/// in UTF-8, as much of it as was captured. `None` for other programs.
pub fn client_of_user_agent(agent: &[u8]) -> Option<ClientName> {
    // The table is sorted by length, longest first.
    let (prefix, name) = AGENTS.iter().find(|(prefix, _)| agent.starts_with(prefix))?;
    let rest = agent.get(prefix.len()..)?;
    let rest = match rest {
        [b'/' | b' ', b'v', rest @ ..] | [b'/' | b' ' | b'-', rest @ ..] => rest,
        _ => rest,
    };
    let version = match rest.first() {
        Some(first) if first.is_ascii_digit() => Text::word(rest),
        _ => Text::default(),
    };
    Some(ClientName::known(name, version))
}
