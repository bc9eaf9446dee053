//! Writes the first inputs of each target: `cargo run --example seeds` fills `corpus/TARGET/` from the messages
//! that the benches of the detectors use, and from the recorded captures of `tests/cases`.

use std::fs;
use std::io;
use std::path::Path;

use btblocker_fuzz::input;
use vectors::{Carrier, Random, VECTORS, write};

mod files;

#[path = "../../../detectors/benches/vectors/mod.rs"]
mod vectors;

type Records = Vec<(u8, Vec<u8>)>;

fn ipv4(protocol: u8, fragment: u16, body: &[u8]) -> Vec<u8> {
    let mut packet = vec![0x45, 0];
    packet.extend((20 + body.len() as u16).to_be_bytes());
    packet.extend([0, 7]);
    packet.extend(fragment.to_be_bytes());
    packet.extend([64, protocol, 0, 0, 10, 8, 0, 7, 203, 0, 113, 9]);
    packet.extend(body);
    packet
}

fn ipv6(next: u8, body: &[u8]) -> Vec<u8> {
    let mut packet = vec![0x60, 0, 0, 0];
    packet.extend((body.len() as u16).to_be_bytes());
    packet.extend([next, 64]);
    packet.extend([0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 7]);
    packet.extend([0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 9]);
    packet.extend(body);
    packet
}

fn tcp(sequence: u32, flags: u8, payload: &[u8]) -> Vec<u8> {
    let mut segment = vec![0xc3, 0x50, 0xc8, 0xd5];
    segment.extend(sequence.to_be_bytes());
    segment.extend([0, 0, 0, 9, 0x50, flags, 255, 255, 0, 0, 0, 0]);
    segment.extend(payload);
    segment
}

fn udp(payload: &[u8]) -> Vec<u8> {
    let mut datagram = vec![0x1a, 0xe1, 0x1a, 0xe2];
    datagram.extend((8 + payload.len() as u16).to_be_bytes());
    datagram.extend([0, 0]);
    datagram.extend(payload);
    datagram
}

fn ethernet(kind: [u8; 2], packet: &[u8]) -> Vec<u8> {
    [&[2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2][..], &kind, packet].concat()
}

/// Random flights as programs encrypt, alternating.
fn flights(random: &mut Random, lengths: &[usize]) -> Records {
    let flight = |(number, len): (usize, &usize)| {
        let mut bytes = Vec::new();
        random.fill(&mut bytes, *len);
        ((number % 2) as u8, bytes)
    };
    lengths.iter().enumerate().map(flight).collect()
}

fn main() -> io::Result<()> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus");
    let keep = |target: &str, name: &str, bytes: &[u8]| {
        let folder = folder.join(target);
        fs::create_dir_all(&folder)?;
        fs::write(folder.join(name.replace(' ', "-")), bytes)
    };
    let mut random = Random::new(1);
    let (mut bytes, mut fixed) = (Vec::new(), Vec::new());
    let opening: Records = vec![(2, vec![]), (3, vec![])];
    for vector in VECTORS {
        write(vector, &mut random, &mut bytes, &mut fixed);
        let name = vector.name;
        let (protocol, transport) = match vector.carrier {
            Carrier::Stream => {
                let script = [
                    &opening[..],
                    &[(0, bytes.clone()), (1, bytes.clone()), (0, bytes.clone())],
                ]
                .concat();
                keep("tcp_stream", name, &input(&script))?;
                (6, tcp(1, 0x18, &bytes))
            }
            Carrier::Datagram => {
                keep(
                    "udp_datagrams",
                    name,
                    &input(&[(0, bytes.clone()), (1, bytes.clone())]),
                )?;
                keep("bencode", name, &bytes)?;
                (17, udp(&bytes))
            }
        };
        let (four, six) = (ipv4(protocol, 0, &transport), ipv6(protocol, &transport));
        keep("frame", name, &[&[1][..], &ethernet([8, 0], &four)].concat())?;
        keep("frame", &format!("{name} v6"), &[&[2][..], &six].concat())?;
        let syns = [
            (0, ethernet([8, 0], &ipv4(6, 0, &tcp(0, 2, b"")))),
            (1, four.clone()),
            (1, six),
        ];
        keep("pipeline", name, &input(&syns))?;
        let cut = transport.len() / 16 * 8;
        if let Some((first, rest)) = transport.split_at_checked(cut).filter(|_| cut > 0) {
            let parts = [
                (0, ipv4(protocol, 0x2000, first)),
                (1, ipv4(protocol, (cut / 8) as u16, rest)),
            ];
            keep("fragments", name, &input(&parts))?;
            let turned: Records = parts.iter().rev().cloned().collect();
            keep("pipeline", &format!("{name} in fragments"), &input(&turned))?;
        }
    }
    for (name, lengths) in [
        ("held back", &[389, 452, 551, 226, 68, 300][..]),
        ("glued", &[380, 213, 124, 357, 34, 16_397, 17, 16_397, 51, 16_397]),
    ] {
        let script = [&opening[..], &flights(&mut random, lengths)].concat();
        keep("tcp_stream", name, &input(&script))?;
    }
    for (name, client, server) in [
        ("socks5", &b"\x05\x01\0\x05\x01\0\x01\xc0\0\x02\x07\x1a\xe1"[..], &b"\x05\0\x05\0\0\x01\0\0\0\0\0\0"[..]),
        ("socks4", b"\x04\x01\x1a\xe1\xc0\0\x02\x07me\0", b"\0\x5a\x1a\xe1\xc0\0\x02\x07"),
        ("connect", b"CONNECT 192.0.2.7:6881 HTTP/1.1\r\n\r\n", b"HTTP/1.1 200 OK\r\n\r\n"),
        ("tracker", b"GET /announce?info_hash=aaaaaaaaaaaaaaaaaaab&peer_id=-TR2940-chho92c56pul&port=51413 HTTP/1.1\r\n\r\n", b"HTTP/1.1 200 OK\r\n\r\nd8:intervali1800e5:peers6:\xc0\0\x02\x07\x1a\xe1e"),
    ] {
        let script = [&opening[..], &[(0, client.to_vec()), (1, server.to_vec())]].concat();
        keep("tcp_stream", name, &input(&script))?;
    }
    let utp = |kind: u8, id: u8, sequence: u8, acknowledged: u8, payload: &[u8]| {
        let head = [
            kind,
            0,
            1,
            id,
            0,
            0,
            9,
            sequence,
            0,
            0,
            0,
            9,
            0,
            0x10,
            0,
            0,
            0,
            sequence,
            0,
            acknowledged,
        ];
        [&head[..], payload].concat()
    };
    let mut syn = utp(0x41, 7, 1, 0, b"");
    syn[8..12].fill(0);
    let opened = [
        (0, syn),
        (1, utp(0x21, 7, 50, 1, b"")),
        (0, utp(0x01, 8, 2, 49, b"\x13BitTorrent protocol")),
        (1, utp(0x01, 7, 50, 2, b"\0\0\x40\x09\x07\0\0\0\x01\0\0\x40\0")),
    ];
    keep("udp_datagrams", "utp connection", &input(&opened))?;
    for (name, text) in [
        (
            "list",
            "interface = [\"eth0\", \"wg0\"]\nban_duration = \"5h\"\nmax_flows = 4096\n",
        ),
        ("wrong", "interface = []\nban_duration = \"-1s\"\nunknown = 1\n"),
        ("table", "[techniques]\ndht = false\n"),
    ] {
        keep("config", name, text.as_bytes())?;
    }
    for (name, bytes) in files::captures()? {
        keep("capture_file", &name, &bytes)?;
        keep("replay", &name, &bytes)?;
    }
    for (name, bytes) in files::states() {
        keep("state", &name, &bytes)?;
    }
    for (name, bytes) in files::requests() {
        keep("control", &name, &bytes)?;
    }
    for (name, bytes) in files::http() {
        keep("http", &name, &bytes)?;
    }
    Ok(())
}
