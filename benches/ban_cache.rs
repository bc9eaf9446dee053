//! What it costs to be told again of a host that is banned: one look-up in the manager, no system call.

use std::hint::black_box;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::{Duration, Instant};

use btblocker::backend::DryRun;
use btblocker::ban::{BanPolicy, Exemption, Exemptions, Manager, Outcome};

/// Look-ups per figure.
const LOOKUPS: u32 = 10_000_000;

fn main() {
    // As a daemon on a router has it: some networks of its own are never banned.
    let mut exemptions = Exemptions::default();
    for network in ["192.0.2.1", "198.51.100.0/24", "2001:db8::1", "2001:db8:1::/64"] {
        if let Ok(element) = network.parse() {
            exemptions.add(element, Exemption::Allowed);
        }
    }
    println!("{:>10} {:>6} {:>14}", "bans", "family", "ns per look-up");
    for bans in [1_u32, 1_024, 65_536, 1_048_576] {
        for family in ["ipv4", "ipv6"] {
            let nanos = measure(bans, family == "ipv6", exemptions.clone());
            println!("{bans:>10} {family:>6} {nanos:>14.1}");
        }
    }
}

fn host(number: u32, ipv6: bool) -> IpAddr {
    if ipv6 {
        Ipv6Addr::from_bits((0xfd00 << 112) | u128::from(number)).into()
    } else {
        Ipv4Addr::from_bits(0x0a00_0000 + number).into()
    }
}

fn measure(bans: u32, ipv6: bool, exemptions: Exemptions) -> f64 {
    let policy = BanPolicy {
        duration: Duration::from_secs(18_000),
        max_bans: 2_000_000,
    };
    let mut manager = Manager::new(Box::new(DryRun::default()), exemptions, policy);
    for number in 0..bans {
        manager.ban(host(number, ipv6), Duration::ZERO);
    }
    let now = Duration::from_secs(1);
    let mut number = 0_u32;
    let mut cached = 0_u32;
    let start = Instant::now();
    for _ in 0..LOOKUPS {
        // A multiplicative walk, so that neighbours in time are none in memory.
        number = number.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let address = host(black_box((number >> 8) % bans), ipv6);
        cached += u32::from(manager.ban(address, now) == Outcome::Cached);
    }
    let took = start.elapsed();
    assert_eq!(cached, LOOKUPS, "every look-up is of a banned host");
    took.as_secs_f64() * 1e9 / f64::from(LOOKUPS)
}
