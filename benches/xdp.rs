//! What the XDP program costs a packet: nanoseconds by the kernel's own test run (`BPF_PROG_TEST_RUN`), for packets of
//! banned hosts and of others, by number of bans.
//!
//! ```text
//! cargo bench --bench xdp
//! ```
//! `one` runs the program again and again for one packet, so all it reads is in the caches. `random` runs it once for
//! each of many hosts; what a run by itself costs is taken off by runs with an empty frame, which the program passes
//! at once. Runs as root, in namespaces of its own; the kernel interprets or compiles the program as
//! `net.core.bpf_jit_enable` says.

use std::error::Error;
use std::ffi::CString;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::num::NonZeroU32;
use std::time::Duration;

use btblocker::backend::{BackendKind, Options, XdpMode, XdpPin, open};
use btblocker::ban::{Change, Element, Timeout};
use libbpf_rs::{Object, ObjectBuilder, ProgramInput, ProgramMut};

type Failure = Box<dyn Error>;

const PINS: &str = "/run/btblocker";
/// Bans that are handed over at once.
const BATCH: u32 = 4_096;
/// Runs for one packet.
const RUNS: u32 = 1_000_000;
/// Hosts that `random` asks for.
const HOSTS: u32 = 20_000;
const ROUNDS: usize = 5;
const DROP: u32 = 1;
const PASS: u32 = 2;

fn main() -> Result<(), Failure> {
    enter_namespaces()?;
    println!(
        "{:<8} {:>9} {:>9} {:>9} {:>12} {:>12}",
        "family", "bans", "hit, one", "miss, one", "hit, random", "miss, random"
    );
    for ipv6 in [false, true] {
        for bans in [0, 1, 1_000, 100_000, 1_000_000] {
            measure(ipv6, bans)?;
        }
    }
    Ok(())
}

fn measure(ipv6: bool, bans: u32) -> Result<(), Failure> {
    let mut backend = open(
        BackendKind::Xdp,
        &Options {
            interfaces: vec!["lo".to_owned()],
            max_elements: NonZeroU32::MIN.saturating_add(1 << 20),
            xdp_mode: XdpMode::Generic,
            xdp_pin: XdpPin::At(PINS.into()),
            ..Options::default()
        },
    )?;
    backend.ensure()?;
    let timeout = Timeout::from_duration(Duration::from_secs(18_000));
    for first in (0..bans).step_by(BATCH as usize) {
        let batch: Vec<Change> = (first..bans.min(first + BATCH))
            .map(|number| Change::Ban(Element::host(host(number, ipv6)), timeout))
            .collect();
        backend.apply(&batch)?;
    }
    let object = object()?;
    let mut program = object
        .progs_mut()
        .find(|program| program.name() == "bt_ethernet")
        .ok_or("the program is missing")?;
    let (hit, miss) = (|number| number % bans.max(1), |number| u32::MAX / 2 + number);
    let mut costs = [None; 4];
    if bans > 0 {
        costs[0] = Some(one(&mut program, &frame(host(hit(bans / 2), ipv6)), DROP)?);
        costs[2] = Some(random(&mut program, ipv6, hit, DROP)?);
    }
    costs[1] = Some(one(&mut program, &frame(host(miss(0), ipv6)), PASS)?);
    costs[3] = Some(random(&mut program, ipv6, miss, PASS)?);
    let [hit, miss, hits, misses] = costs.map(|cost| cost.map_or("-".to_owned(), |cost| cost.to_string()));
    let family = if ipv6 { "ipv6" } else { "ipv4" };
    println!("{family:<8} {bans:>9} {hit:>9} {miss:>9} {hits:>12} {misses:>12}");
    backend.teardown()?;
    Ok(())
}

/// Nanoseconds of the quickest round of runs for one packet.
fn one(program: &mut ProgramMut<'_>, frame: &[u8], verdict: u32) -> Result<u64, Failure> {
    let mut best = u64::MAX;
    for _ in 0..ROUNDS {
        best = best.min(run(program, frame, RUNS, verdict)?);
    }
    Ok(best)
}

/// Nanoseconds that one run for each of many hosts takes more than runs for nothing, in the quickest round.
fn random(
    program: &mut ProgramMut<'_>,
    ipv6: bool,
    number: impl Fn(u32) -> u32,
    verdict: u32,
) -> Result<u64, Failure> {
    let empty = [0; 64];
    let mut best = u64::MAX;
    for _ in 0..ROUNDS {
        let (mut taken, mut nothing) = (0, 0);
        for step in 0..HOSTS {
            // An odd factor visits different hosts in no order that a cache knows.
            let chosen = number(step.wrapping_mul(0x9e37_79b1) >> 8);
            taken += run(program, &frame(host(chosen, ipv6)), 1, verdict)?;
            nothing += run(program, &empty, 1, PASS)?;
        }
        best = best.min(taken.saturating_sub(nothing) / u64::from(HOSTS));
    }
    Ok(best)
}

fn run(program: &mut ProgramMut<'_>, frame: &[u8], repeat: u32, verdict: u32) -> Result<u64, Failure> {
    let output = program.test_run(ProgramInput {
        data_in: Some(frame),
        repeat,
        ..ProgramInput::default()
    })?;
    if output.return_value != verdict {
        return Err(format!("the program answers {}, not {verdict}", output.return_value).into());
    }
    Ok(output.duration.as_nanos() as u64)
}

fn host(number: u32, ipv6: bool) -> IpAddr {
    if ipv6 {
        Ipv6Addr::from_bits((0xfd00 << 112) | u128::from(number)).into()
    } else {
        Ipv4Addr::from_bits(0x0a00_0000_u32.wrapping_add(number)).into()
    }
}

/// An Ethernet frame of 64 bytes from a host to one that is never banned.
fn frame(source: IpAddr) -> Vec<u8> {
    let mut frame = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2];
    match source {
        IpAddr::V4(source) => {
            frame.extend([8, 0, 0x45, 0, 0, 50, 0, 0, 0, 0, 64, 17, 0, 0]);
            frame.extend(source.octets());
            frame.extend([192, 0, 2, 1]);
        }
        IpAddr::V6(source) => {
            frame.extend([0x86, 0xdd, 0x60, 0, 0, 0, 0, 10, 17, 64]);
            frame.extend(source.octets());
            frame.extend([0x20, 1, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
        }
    }
    frame.resize(64, 0);
    frame
}

/// A second load of the committed object, on the maps of the backend.
fn object() -> Result<Object, Failure> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/contrib/xdp/btblocker_xdp.o");
    let mut object = ObjectBuilder::default().open_file(path)?;
    for mut map in object.maps_mut() {
        let pin = format!("{PINS}/{}", map.name().display());
        map.reuse_pinned_map(pin)?;
    }
    Ok(object.load()?)
}

/// A network of its own, and a bpf filesystem at `/run` that nobody else sees.
fn enter_namespaces() -> Result<(), Failure> {
    // SAFETY: takes numbers only; affects this process, which has one thread.
    let code = unsafe { libc::unshare(libc::CLONE_NEWNET | libc::CLONE_NEWNS) };
    if code != 0 {
        return Err("namespaces are needed: run it as root".into());
    }
    mount("none", "/", "", libc::MS_REC | libc::MS_PRIVATE)?;
    mount("bpf", "/run", "bpf", 0)
}

fn mount(source: &str, target: &str, kind: &str, flags: u64) -> Result<(), Failure> {
    let [source, target, kind] = [CString::new(source)?, CString::new(target)?, CString::new(kind)?];
    // SAFETY: three terminated strings that outlive the call, and no data.
    let code = unsafe {
        libc::mount(
            source.as_ptr(),
            target.as_ptr(),
            kind.as_ptr(),
            flags,
            std::ptr::null(),
        )
    };
    if code == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error().into())
    }
}
