//! Many bans in each backend: time to load, to list and to compare them, and memory; beside a program that is
//! started for each ban.
//!
//! ```text
//! cargo bench --bench million_bans -- [BANS [BACKEND [nolist]]]
//! ```
//! `compare` is what a reconciliation asks the kernel after somebody else changed its sets or rules, `stall` the longest
//! of its calls: so long the judge does nothing else. `idle` is the same when nobody else did. These three are CPU
//! time, the others wall time. `nolist` leaves out the listing, which takes minutes in nftables.
//!
//! Runs as root, in a network namespace of its own. Kernel memory is the growth of unreclaimable slabs, vmalloc and
//! per-CPU memory in `/proc/meminfo`, which other programs move as well; what the kernel itself says of a set is
//! printed where it says so (`ipset list -t`, `memlock` of BPF maps).

mod measure;

use std::error::Error;
use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::num::NonZeroU32;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use btblocker::backend::{BackendKind, Options, XdpPin, open};
use btblocker::ban::{Change, Element, Timeout};

/// Bans unless the command line says otherwise.
const BANS: u32 = 1_000_000;
/// Changes that are handed to the kernel at once.
const BATCH: usize = 1_024;
/// Bans that the baseline makes by starting a program.
const STARTS: u32 = 200;

fn main() -> Result<(), Box<dyn Error>> {
    // Cargo adds `--bench`.
    let arguments: Vec<String> = std::env::args()
        .skip(1)
        .filter(|word| word != "--bench")
        .collect();
    let bans = arguments.first().map_or(Ok(BANS), |text| text.parse())?;
    let kinds = match arguments.get(1) {
        Some(name) => vec![name.parse()?],
        None => vec![BackendKind::Ipset, BackendKind::Nftables, BackendKind::Xdp],
    };
    let lists = arguments.get(2).is_none_or(|word| word != "nolist");
    // SAFETY: changes only this thread's network namespace.
    let code = unsafe { libc::unshare(libc::CLONE_NEWNET) };
    if code != 0 {
        return Err("a network namespace is needed: run it as root".into());
    }
    println!(
        "{:<9} {:>6} {:>9} {:>9} {:>10} {:>9} {:>9} {:>9} {:>12} {:>10} {:>10}  kernel's own count",
        "backend",
        "family",
        "load s",
        "list s",
        "compare s",
        "stall ms",
        "idle ms",
        "empty s",
        "kernel MiB",
        "RSS MiB",
        "peak MiB"
    );
    for &kind in &kinds {
        for ipv6 in [false, true] {
            if let Err(error) = measure(kind, ipv6, bans, lists) {
                println!("{kind:<9} {error}");
            }
        }
    }
    println!(
        "\n{:<9} {:>24} {:>20}",
        "backend", "program per ban, ms/ban", "single apply, ms/ban"
    );
    for kind in [BackendKind::Ipset, BackendKind::Nftables] {
        if kinds.contains(&kind) {
            baseline(kind)?;
        }
    }
    Ok(())
}

fn options() -> Options {
    Options {
        interfaces: vec!["lo".to_owned()],
        max_elements: NonZeroU32::MIN.saturating_add(1 << 21),
        xdp_pin: XdpPin::Off,
        ..Options::default()
    }
}

fn host(number: u32, ipv6: bool) -> IpAddr {
    if ipv6 {
        Ipv6Addr::from_bits((0xfd00 << 112) | u128::from(number)).into()
    } else {
        Ipv4Addr::from_bits(0x0a00_0000 + number).into()
    }
}

fn ban(number: u32, ipv6: bool) -> Change {
    let timeout = Timeout::from_duration(Duration::from_secs(18_000));
    Change::Ban(Element::host(host(number, ipv6)), timeout)
}

fn measure(kind: BackendKind, ipv6: bool, bans: u32, lists: bool) -> Result<(), Box<dyn Error>> {
    // What was torn down before is freed in the background.
    thread::sleep(Duration::from_secs(3));
    let before = kernel_kib()?;
    let mut backend = open(kind, &options())?;
    backend.ensure()?;
    let mut batch = Vec::with_capacity(BATCH);
    let start = Instant::now();
    for number in 0..bans {
        batch.push(ban(number, ipv6));
        if batch.len() == BATCH || number + 1 == bans {
            backend.apply(&batch)?;
            batch.clear();
        }
    }
    let load = start.elapsed();
    let (kernel, rss) = (kernel_kib()?.saturating_sub(before), status_kib("VmRSS:")?);
    let own_count = own_count(kind, ipv6);
    let start = Instant::now();
    let listed = if lists {
        backend.list()?.len()
    } else {
        bans as usize
    };
    let list = start.elapsed();
    if listed != bans as usize {
        return Err(format!("{listed} of {bans} bans are listed").into());
    }
    let mut expected: Vec<Element> = (0..bans)
        .map(|number| Element::host(host(number, ipv6)))
        .collect();
    let (mut compare, mut stall) = (Duration::ZERO, Duration::ZERO);
    backend.verify()?;
    while !expected.is_empty() {
        let start = cpu();
        let missing = backend.compare(&mut expected)?.len();
        let took = cpu() - start;
        if missing > 0 {
            return Err(format!("{missing} bans are missing").into());
        }
        (compare, stall) = (compare + took, stall.max(took));
    }
    let start = cpu();
    let idle = backend.is_untouched()?;
    let idle = if idle { cpu() - start } else { compare };
    let peak = status_kib("VmHWM:")?;
    let start = Instant::now();
    backend.teardown()?;
    let empty = start.elapsed();
    println!(
        "{kind:<9} {:>6} {:>9.2} {:>9.2} {:>10.2} {:>9.1} {:>9.3} {:>9.2} {:>12} {:>10} {:>10}  {own_count}",
        if ipv6 { "ipv6" } else { "ipv4" },
        load.as_secs_f64(),
        list.as_secs_f64(),
        compare.as_secs_f64(),
        stall.as_secs_f64() * 1e3,
        idle.as_secs_f64() * 1e3,
        empty.as_secs_f64(),
        kernel / 1_024,
        rss / 1_024,
        peak / 1_024,
    );
    Ok(())
}

/// CPU time of this thread.
fn cpu() -> Duration {
    Duration::from_nanos(measure::cpu_nanos(libc::CLOCK_THREAD_CPUTIME_ID))
}

/// Kernel memory that sets take, in KiB.
fn kernel_kib() -> Result<u64, Box<dyn Error>> {
    let text = fs::read_to_string("/proc/meminfo")?;
    ["SUnreclaim:", "VmallocUsed:", "Percpu:"]
        .into_iter()
        .map(|name| field_kib(&text, name))
        .sum()
}

/// A line of this process' status, in KiB; the peak counts from the start of the program.
fn status_kib(name: &str) -> Result<u64, Box<dyn Error>> {
    field_kib(&fs::read_to_string("/proc/self/status")?, name)
}

fn field_kib(text: &str, name: &str) -> Result<u64, Box<dyn Error>> {
    let line = text.lines().find(|line| line.starts_with(name));
    let value = line.and_then(|line| line.split_whitespace().nth(1));
    Ok(value.ok_or("the kernel does not say")?.parse()?)
}

/// What the kernel says of the sets themselves.
fn own_count(kind: BackendKind, ipv6: bool) -> String {
    match kind {
        BackendKind::Ipset => {
            let name = if ipv6 { "torrent_block6" } else { "torrent_block" };
            let output = Command::new("ipset").args(["list", "-t", name]).output();
            let text = output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
            let text = text.unwrap_or_default();
            let line = text.lines().find(|line| line.starts_with("Size in memory"));
            line.unwrap_or("unknown").to_owned()
        }
        BackendKind::Xdp => {
            let maps = fs::read_dir("/proc/self/fdinfo").into_iter().flatten().flatten();
            let bytes: u64 = maps
                .filter_map(|entry| fs::read_to_string(entry.path()).ok())
                .filter(|text| text.contains("map_type:"))
                .filter_map(|text| {
                    let line = text.lines().find(|line| line.starts_with("memlock:"))?;
                    line.split_whitespace().nth(1)?.parse::<u64>().ok()
                })
                .sum();
            format!("memlock of all maps: {} MiB", bytes >> 20)
        }
        BackendKind::Nftables | BackendKind::DryRun => String::new(),
    }
}

/// Bans one host after the other, by a program and by this process.
fn baseline(kind: BackendKind) -> Result<(), Box<dyn Error>> {
    let mut backend = open(kind, &options())?;
    backend.ensure()?;
    let start = Instant::now();
    for number in 0..STARTS {
        let address = host(number, false);
        let (program, arguments) = match kind {
            BackendKind::Ipset => ("ipset", format!("add torrent_block {address} timeout 18000")),
            _ => (
                "nft",
                format!("add element inet btblocker torrent_block {{ {address} timeout 18000s }}"),
            ),
        };
        let status = Command::new(program).args(arguments.split(' ')).status()?;
        if !status.success() {
            return Err(format!("{program} {arguments} fails").into());
        }
    }
    let by_program = start.elapsed();
    let start = Instant::now();
    for number in STARTS..2 * STARTS {
        backend.apply(&[ban(number, false)])?;
    }
    let by_apply = start.elapsed();
    let each = |time: Duration| time.as_secs_f64() * 1e3 / f64::from(STARTS);
    println!("{kind:<9} {:>24.3} {:>20.3}", each(by_program), each(by_apply));
    backend.teardown()?;
    Ok(())
}
