//! Changes per second of each backend, by batch size: bans, renewals, unbans, and how long a list takes.
//!
//! Runs as root, in a network namespace of its own. Figures are wall time.

use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use btblocker::backend::{BackendKind, Options, open};
use btblocker::ban::{BackendError, Change, Element, SetBackend, Timeout};

const ELEMENTS: u32 = 100_000;

fn main() {
    // SAFETY: changes only this thread's network namespace.
    let code = unsafe { libc::unshare(libc::CLONE_NEWNET) };
    if code != 0 {
        eprintln!("a network namespace is needed: run it as root");
        std::process::exit(1);
    }
    println!(
        "{:<10} {:>6} {:>12} {:>12} {:>12} {:>14}",
        "backend", "batch", "bans/s", "renewals/s", "unbans/s", "list µs/elem"
    );
    for kind in BackendKind::ALL {
        for batch in [1, 16, 256, 1_024] {
            if let Err(error) = measure(kind, batch) {
                println!("{kind:<10} {error}");
            }
        }
    }
}

fn measure(kind: BackendKind, batch: usize) -> Result<(), BackendError> {
    let mut backend = open(kind, &Options::default())?;
    backend.ensure()?;
    // Single changes are slow enough to be measured on fewer.
    let count = if batch == 1 { ELEMENTS / 10 } else { ELEMENTS };
    let hosts = || (0..count).map(|n| Element::host(Ipv4Addr::from_bits(0x0a00_0000 + n).into()));
    let timeout = Timeout::from_duration(Duration::from_secs(18_000));
    let bans: Vec<_> = hosts().map(|host| Change::Ban(host, timeout)).collect();
    let unbans: Vec<_> = hosts().map(Change::Unban).collect();
    let (banned, renewed) = (
        rate(&mut *backend, &bans, batch)?,
        rate(&mut *backend, &bans, batch)?,
    );
    let start = Instant::now();
    let held = backend.list()?;
    let listed = start.elapsed().as_secs_f64() * 1e6 / held.len() as f64;
    let unbanned = rate(&mut *backend, &unbans, batch)?;
    println!(
        "{:<10} {batch:>6} {banned:>12.0} {renewed:>12.0} {unbanned:>12.0} {listed:>14.2}",
        kind.name()
    );
    backend.teardown()
}

/// Changes per second.
fn rate(backend: &mut dyn SetBackend, changes: &[Change], batch: usize) -> Result<f64, BackendError> {
    let start = Instant::now();
    for changes in changes.chunks(batch) {
        backend.apply(changes)?;
    }
    Ok(changes.len() as f64 / start.elapsed().as_secs_f64())
}
