//! Writing of the tables as Rust source.

use std::fmt::{self, Write};

use crate::validate::clients::Clients;
use crate::validate::{Pattern, Signature};
use crate::words::Anchor;

/// A byte string literal.
fn literal(bytes: &[u8]) -> String {
    format!("b\"{}\"", bytes.escape_ascii())
}

fn pattern(pattern: &Pattern, exact: bool) -> String {
    let mask: &[u8] = if pattern.mask.iter().all(|mask| *mask == 0xff) {
        &[]
    } else {
        &pattern.mask
    };
    format!(
        "Pattern {{ bytes: {}, mask: {}, exact: {exact} }}",
        literal(&pattern.bytes),
        literal(mask)
    )
}

/// The sorted signatures and, per anchor, the index by first byte.
pub fn signatures(out: &mut String, signatures: &[Signature]) -> fmt::Result {
    writeln!(out, "/// Every signature, sorted by anchor and bytes.")?;
    writeln!(
        out,
        "pub static SIGNATURES: [Signature; {}] = [",
        signatures.len()
    )?;
    for (index, entry) in signatures.iter().enumerate() {
        writeln!(
            out,
            "Signature {{ index: {index}, id: {:?}, technique: {:?}, class: {:?}, anchor: Anchor::{:?}, \
             transports: Transports::{:?}, confidence: Confidence::{:?}, pattern: {}, source: {:?} }},",
            entry.id,
            entry.technique,
            entry.class,
            entry.anchor,
            entry.transports,
            entry.confidence,
            pattern(&entry.pattern, entry.exact),
            entry.source,
        )?;
    }
    writeln!(out, "];")?;

    let mut candidates = Vec::new();
    let mut starts = Vec::new();
    for anchor in Anchor::ALL {
        let mut row = vec![candidates.len()];
        for first in 0..=u8::MAX {
            let allowed = signatures.iter().enumerate().filter(|(_, entry)| {
                let fixed = entry.pattern.bytes.first().zip(entry.pattern.mask.first());
                entry.anchor == *anchor && fixed.is_some_and(|(byte, mask)| first & mask == *byte)
            });
            candidates.extend(allowed.map(|(index, _)| index));
            row.push(candidates.len());
        }
        starts.push(row);
    }
    writeln!(
        out,
        "/// Places in `SIGNATURES`, by anchor and allowed first byte."
    )?;
    writeln!(
        out,
        "pub(crate) static CANDIDATES: [u16; {}] = {candidates:?};",
        candidates.len()
    )?;
    writeln!(
        out,
        "/// Where the candidates of an anchor and a first byte start; they end where the next start."
    )?;
    writeln!(
        out,
        "pub(crate) static STARTS: [[u16; 257]; {}] = {starts:?};",
        starts.len()
    )
}

/// The tables of client names.
pub fn clients(out: &mut String, clients: &Clients) -> fmt::Result {
    writeln!(
        out,
        "pub(crate) static AZUREUS: [Azureus; {}] = [",
        clients.azureus.len()
    )?;
    for (code, name, style) in &clients.azureus {
        writeln!(
            out,
            "Azureus {{ code: {code:?}, name: {name:?}, style: VersionStyle::{style:?} }},"
        )?;
    }
    writeln!(
        out,
        "];\npub(crate) static DHT_TAGS: [DhtTag; {}] = [",
        clients.dht.len()
    )?;
    for (tag, name, style) in &clients.dht {
        writeln!(
            out,
            "DhtTag {{ tag: {tag:?}, name: {name:?}, style: VersionStyle::{style:?} }},"
        )?;
    }
    writeln!(
        out,
        "];\npub(crate) static CONVENTIONS: [Convention; {}] = [",
        clients.convention.len()
    )?;
    for entry in &clients.convention {
        writeln!(
            out,
            "Convention {{ at: {}, pattern: {}, name: {:?}, style: VersionStyle::{:?}, version: {:?} }},",
            entry.at,
            pattern(&entry.pattern, false),
            entry.name,
            entry.style,
            entry.version,
        )?;
    }
    let (shadow, mainline) = (&clients.shadow, &clients.mainline);
    writeln!(
        out,
        "];\npub(crate) static SHADOW: [(u8, &str); {}] = {shadow:?};",
        shadow.len()
    )?;
    writeln!(
        out,
        "pub(crate) static MAINLINE: [(u8, &str); {}] = {mainline:?};",
        mainline.len()
    )?;
    writeln!(
        out,
        "pub(crate) static AGENTS: [(&[u8], &str); {}] = [",
        clients.agent.len()
    )?;
    for (prefix, name) in &clients.agent {
        writeln!(out, "({}, {name:?}),", literal(prefix.as_bytes()))?;
    }
    writeln!(out, "];")
}
