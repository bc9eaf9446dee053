//! Writes a large capture for benchmarks, the same on every machine:
//!
//!     cargo run --release --example generate_capture -- MIX PACKETS FLOWS FILE [RECORDING...]
//!
//! MIX is one of bulk, short, recorded, opaque, syn-flood, udp-flood, junk; FLOWS how many conversations run side by side;
//! recordings (Ethernet) are played again between varied addresses: `tests/cases/*/input.pcap` is meant.

mod traffic;

use btblocker::capture::{FileSource, FrameBatch, LinkType};
use std::fs::File;
use std::io::{BufWriter, Error, Write};
use std::path::Path;
use traffic::{Mix, Recording, Traffic};

type Failure = Box<dyn std::error::Error>;

fn main() -> Result<(), Failure> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [mix, packets, flows, file, recordings @ ..] = &arguments[..] else {
        return Err("usage: generate_capture MIX PACKETS FLOWS FILE [RECORDING...]".into());
    };
    let mix = Mix::ALL
        .iter()
        .find(|(name, _)| name == mix)
        .ok_or("there is no such mix")?
        .1;
    let mut recorded = Vec::new();
    for path in recordings {
        recorded.extend(recording(Path::new(path))?);
    }
    let mut traffic = Traffic::new(mix, flows.parse()?, recorded);
    let mut out = BufWriter::with_capacity(1 << 20, File::create(file)?);
    header(&mut out)?;
    for _ in 0..packets.parse::<u64>()? {
        let (at, frame) = traffic.next().ok_or("this mix needs recordings")?;
        record(&mut out, at, frame)?;
    }
    Ok(out.flush()?)
}

/// The frames of a file on Ethernet; `None` on another link.
fn recording(path: &Path) -> Result<Option<Recording>, Failure> {
    let mut source = FileSource::open(path, 0)?;
    if source.link() != LinkType::Ethernet {
        return Ok(None);
    }
    let (mut frames, mut batch) = (Vec::new(), FrameBatch::new());
    while source.fill(&mut batch)? {
        frames.extend(batch.frames().map(|(meta, bytes)| (meta.at.0, bytes.to_vec())));
    }
    Ok(Some(frames))
}

/// The file header of `pcap-savefile(5)`: version 2.4, microseconds, Ethernet.
fn header(out: &mut impl Write) -> Result<(), Error> {
    out.write_all(&0xa1b2_c3d4_u32.to_le_bytes())?;
    for half in [2_u16, 4] {
        out.write_all(&half.to_le_bytes())?;
    }
    for word in [0_u32, 0, 65_535, 1] {
        out.write_all(&word.to_le_bytes())?;
    }
    Ok(())
}

fn record(out: &mut impl Write, at: u64, frame: &[u8]) -> Result<(), Error> {
    let len = u32::try_from(frame.len()).map_err(Error::other)?;
    let seconds = u32::try_from(at / 1_000_000).map_err(Error::other)?;
    for word in [seconds, (at % 1_000_000) as u32, len, len] {
        out.write_all(&word.to_le_bytes())?;
    }
    out.write_all(frame)
}
