//! Seeds that are files or requests: capture files from the beginnings of the recorded ones, state files, requests to
//! the control socket and over HTTP.

use std::fs;
use std::io;
use std::path::Path;

const FILE_HEADER: usize = 24;
const RECORD_HEADER: usize = 16;
/// Longest seed in bytes: what the targets are run with.
const LONGEST: usize = 8_192;

/// Name and bytes of a seed.
pub type Seed = (String, Vec<u8>);

/// The recorded captures of `tests/cases`, as far as whole records fit, in the classic format and as pcapng.
pub fn captures() -> io::Result<Vec<Seed>> {
    let cases = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/cases");
    let mut seeds = Vec::new();
    for case in fs::read_dir(cases)? {
        let case = case?;
        let Ok(bytes) = fs::read(case.path().join("input.pcap")) else {
            continue;
        };
        let name = case.file_name().to_string_lossy().into_owned();
        let records = records(&bytes);
        seeds.push((
            name.clone(),
            bytes[..FILE_HEADER + records.concat().len()].to_vec(),
        ));
        seeds.push((format!("{name} ng"), pcapng(bytes[20], &records)));
    }
    Ok(seeds)
}

/// The first records, each with its header.
fn records(file: &[u8]) -> Vec<&[u8]> {
    let (mut records, mut rest, mut room) = (Vec::new(), &file[FILE_HEADER..], LONGEST - FILE_HEADER);
    while let Some(length) = rest.get(8..12) {
        let end = RECORD_HEADER + u32::from_le_bytes(length.try_into().unwrap()) as usize;
        if end > room {
            break;
        }
        records.push(&rest[..end]);
        (rest, room) = (&rest[end..], room - end);
    }
    records
}

/// The same frames as pcapng, in which a frame takes 16 to 19 bytes more.
fn pcapng(link: u8, records: &[&[u8]]) -> Vec<u8> {
    let block = |kind: u32, parts: &[&[u8]]| {
        let mut body = parts.concat();
        body.resize(body.len().next_multiple_of(4), 0);
        let length = (12 + body.len() as u32).to_le_bytes();
        [&kind.to_le_bytes()[..], &length, &body, &length].concat()
    };
    let section = [&0x1a2b_3c4d_u32.to_le_bytes()[..], &[1, 0, 0, 0], &[0xff; 8]].concat();
    let mut file = block(0x0a0d_0d0a, &[&section]);
    file.extend(block(1, &[&[link, 0, 0, 0], &65_535_u32.to_le_bytes()]));
    for record in records {
        let word = |at: usize| u32::from_le_bytes(record[at..at + 4].try_into().unwrap());
        let micros = u64::from(word(0)) * 1_000_000 + u64::from(word(4));
        let [high, low] = [(micros >> 32) as u32, micros as u32].map(u32::to_le_bytes);
        let packet = block(6, &[&[0; 4], &high, &low, &record[8..]]);
        if file.len() + packet.len() > LONGEST {
            break;
        }
        file.extend(packet);
    }
    file
}

/// Files of remembered bans.
pub fn states() -> Vec<Seed> {
    let ban = |address: &str| {
        format!(
            r#"{{"address":"{address}","since":1789999000000000,"until":1790003600000000,"duration_secs":18000,"flows":3,"times":2,"technique":"dht","reason":"dht \"query\"","client":"µTorrent"}}"#
        )
    };
    let file = |bans: &str, past: &str| {
        format!(r#"{{"version":1,"written":1790000000000000,"bans":[{bans}],"past":[{past}]}}"#)
    };
    let past = r#"{"address":"192.0.2.3","until":1789990000000000,"times":3}"#;
    let two = format!("{},{}", ban("192.0.2.7"), ban("2001:db8::/64"));
    [
        ("empty", file("", "")),
        ("bans", file(&two, past)),
        ("no address", file(&ban("nobody"), "")),
        ("later program", r#"{"version":2,"everything":"else"}"#.to_owned()),
        ("torn", file(&two, past)[..200].to_owned()),
    ]
    .map(|(name, text)| (name.to_owned(), text.into_bytes()))
    .into()
}

/// What clients say.
pub fn requests() -> Vec<Seed> {
    [
        ("bans", "{\"command\":\"bans\"}"),
        ("ban", "{\"command\":\"ban\",\"address\":\"2001:db8::/64\",\"seconds\":9}"),
        ("allow", "{\"command\":\"allow\",\"address\":\"192.0.2.7\"}\n"),
        ("explain", "{\"command\":\"explain\",\"address\":\"192.0.2.7\"}\n"),
        ("several", "{\"command\":\"unban-all\"}\n\n{\"command\":\"status\"}\n{\"command\":\"unban\",\"address\":\"::1\"}\n"),
        ("wrong", "{\"command\":\"reboot\",\"address\":[1,{\"a\":\"\\u0000\"}]}\n"),
    ]
    .map(|(name, text)| (name.to_owned(), text.as_bytes().to_vec()))
    .into()
}

/// What browsers and Prometheus ask for.
pub fn http() -> Vec<Seed> {
    [
        ("metrics", "GET /metrics HTTP/1.1\r\nHost: localhost:9475\r\n\r\n"),
        ("head", "HEAD / HTTP/1.0\r\n\r\n"),
        (
            "unban",
            "POST /unban?address=192.0.2.7 HTTP/1.1\r\nHost: [::1]:9475\r\nOrigin: http://[::1]:9475\r\nAuthorization: Bearer 0123456789abcdef\r\n\r\n",
        ),
        ("twice", "GET / HTTP/1.1\r\nHost: a\r\nhost: b\r\n\r\n"),
    ]
    .map(|(name, text)| (name.to_owned(), text.as_bytes().to_vec()))
    .into()
}
