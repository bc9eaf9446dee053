//! Packets of banned hosts really stop: a banned and an innocent client, a router that bans, a server behind it.
//!
//! ```text
//! banned   10.1.0.2 fd01::2 ──┐
//!                             ├── router 10.N.0.1 fd0N::1 ── server 10.3.0.2 fd03::2
//! innocent 10.2.0.2 fd02::2 ──┘
//! ```

use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use btblocker::backend::{BackendKind, Hooks, Options, XdpPin, open};
use btblocker::ban::Change;

use crate::cases::{ban, unban};
use crate::namespace::{Namespace, eventually, require_root, try_sh};

const PORT: u16 = 6881;
/// How long a probe waits for an answer that must not come. Inside one machine answers take a millisecond.
pub(crate) const BRIEFLY: Duration = Duration::from_millis(250);
/// How long a probe waits for an answer that must come.
pub(crate) const PATIENTLY: Duration = Duration::from_secs(10);
pub(crate) const BANNED: [&str; 2] = ["10.1.0.2", "fd01::2"];
const SERVER: [&str; 2] = ["10.3.0.2", "fd03::2"];
/// Echo servers as the banned client sees them: the router itself, and the server behind it.
const TARGETS: [&str; 4] = ["10.1.0.1", "fd01::1", SERVER[0], SERVER[1]];

pub(crate) struct Network {
    pub(crate) banned: Namespace,
    pub(crate) innocent: Namespace,
    pub(crate) router: Namespace,
    pub(crate) server: Namespace,
}

impl Network {
    pub(crate) fn new() -> Self {
        require_root();
        let router = Namespace::new();
        router.sh("sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1");
        let host = |number: u8| {
            let host = Namespace::new();
            router.sh(&format!(
                "ip link add r{number} type veth peer name h{number} netns {}
                 ip addr add 10.{number}.0.1/24 dev r{number}
                 ip addr add fd0{number}::1/64 dev r{number} nodad
                 ip link set r{number} up",
                host.thread_id
            ));
            host.sh(&format!(
                "ip addr add 10.{number}.0.2/24 dev h{number}
                 ip addr add fd0{number}::2/64 dev h{number} nodad
                 ip link set h{number} up
                 ip route add default via 10.{number}.0.1
                 ip -6 route add default via fd0{number}::1"
            ));
            host
        };
        let (banned, innocent, server) = (host(1), host(2), host(3));
        for namespace in [&banned, &router, &server] {
            namespace.run(serve);
        }
        let network = Self {
            banned,
            innocent,
            router,
            server,
        };
        for namespace in [&network.banned, &network.innocent] {
            // The first packets wait for neighbours to be found.
            namespace.run(|| {
                for target in TARGETS {
                    assert!(
                        eventually(Duration::from_secs(10), || pings(address(target), BRIEFLY)),
                        "{target} is not there"
                    );
                }
            });
        }
        network
    }

    /// What the banned client still reaches, in words.
    pub(crate) fn passing(&self, wait: Duration) -> Vec<String> {
        let mut passing = self.banned.run(move || passing_from_here(&TARGETS, wait));
        // The other direction: the router and the server speak first.
        for (name, namespace) in [("router", &self.router), ("server", &self.server)] {
            let found = namespace.run(move || passing_from_here(&BANNED, wait));
            passing.extend(found.into_iter().map(|way| format!("{name}: {way}")));
            passing.extend(
                self.arriving_from(namespace, wait)
                    .iter()
                    .map(|target| format!("{name}: one way to {target}")),
            );
        }
        passing
    }

    /// The banned client's addresses at which a datagram from `sender` arrives, answered or not.
    fn arriving_from(&self, sender: &Namespace, wait: Duration) -> Vec<&'static str> {
        BANNED
            .into_iter()
            .filter(|target| {
                let sink = self.banned.run(|| UdpSocket::bind(("::", 0)).unwrap());
                let target = SocketAddr::new(target.parse().unwrap(), sink.local_addr().unwrap().port());
                sender.run(move || {
                    let socket = UdpSocket::bind((any(target), 0)).unwrap();
                    // A drop in hook output is an error of the sender.
                    let _ = socket.send_to(b"echo", target);
                });
                sink.set_read_timeout(Some(wait)).unwrap();
                sink.recv(&mut [0; 8]).is_ok()
            })
            .collect()
    }

    /// Everything that passes while nobody is banned.
    pub(crate) fn all_passing() -> usize {
        // Three protocols to four targets; from two machines the same and one way to two addresses.
        3 * 4 + 2 * (3 + 1) * 2
    }

    pub(crate) fn assert_innocent_passes(&self) {
        let found = self.innocent.run(|| passing_from_here(&SERVER, PATIENTLY));
        assert_eq!(found.len(), 6, "{found:?}");
        let found = self
            .innocent
            .run(|| passing_from_here(&["10.2.0.1", "fd02::1"], PATIENTLY));
        assert_eq!(found.len(), 6, "{found:?}");
    }
}

/// Echoes UDP datagrams and TCP streams for as long as the test runs.
fn serve() {
    let udp = UdpSocket::bind(("::", PORT)).unwrap();
    let tcp = TcpListener::bind(("::", PORT)).unwrap();
    thread::spawn(move || {
        let mut buffer = [0; 64];
        while let Ok((len, from)) = udp.recv_from(&mut buffer) {
            let _ = udp.send_to(&buffer[..len], from);
        }
    });
    thread::spawn(move || {
        for stream in tcp.incoming().flatten() {
            thread::spawn(move || {
                let (mut reader, mut writer) = (&stream, &stream);
                let _ = std::io::copy(&mut reader, &mut writer);
            });
        }
    });
}

fn address(target: &str) -> SocketAddr {
    SocketAddr::new(target.parse::<IpAddr>().unwrap(), PORT)
}

/// The unspecified address of the same family.
fn any(target: SocketAddr) -> IpAddr {
    if target.is_ipv4() {
        [0; 4].into()
    } else {
        [0_u16; 8].into()
    }
}

fn pings(target: SocketAddr, wait: Duration) -> bool {
    let (ip, wait) = (target.ip(), wait.as_secs_f32());
    try_sh(&format!("ping -n -c 1 -W {wait} {ip}")).0
}

fn echoes_udp(target: SocketAddr, wait: Duration) -> bool {
    let socket = UdpSocket::bind((any(target), 0)).unwrap();
    socket.set_read_timeout(Some(wait)).unwrap();
    socket.send_to(b"echo", target).is_ok() && socket.recv(&mut [0; 8]).is_ok()
}

fn connect(target: SocketAddr, wait: Duration) -> Option<TcpStream> {
    TcpStream::connect_timeout(&target, wait).ok()
}

fn echoes_tcp(mut stream: &TcpStream, wait: Duration) -> bool {
    stream.set_read_timeout(Some(wait)).unwrap();
    stream.write_all(b"echo").is_ok() && stream.read_exact(&mut [0; 4]).is_ok()
}

fn connects_and_echoes_tcp(target: SocketAddr, wait: Duration) -> bool {
    connect(target, wait).is_some_and(|stream| echoes_tcp(&stream, wait))
}

type Probe = fn(SocketAddr, Duration) -> bool;

/// Probes every target with every protocol, all at once; gives what passes.
fn passing_from_here(targets: &[&str], wait: Duration) -> Vec<String> {
    let probes: [(_, Probe); 3] = [
        ("icmp", pings),
        ("udp", echoes_udp),
        ("tcp", connects_and_echoes_tcp),
    ];
    thread::scope(|scope| {
        let start = |target| {
            probes.map(|(name, probe)| {
                (
                    format!("{name} {target}"),
                    scope.spawn(move || probe(address(target), wait)),
                )
            })
        };
        let started: Vec<_> = targets.iter().flat_map(|target| start(*target)).collect();
        started
            .into_iter()
            .filter_map(|(name, probe)| probe.join().unwrap().then_some(name))
            .collect()
    })
}

/// Packets that each of our drop rules has counted, with its text. Nothing but the policy of our chains accepts.
fn rules(kind: BackendKind) -> Vec<(u64, String)> {
    let tables: &[&str] = match kind {
        BackendKind::Ipset => &["ip", "ip6"],
        BackendKind::Nftables => &["inet"],
        BackendKind::Xdp | BackendKind::DryRun => &[],
    };
    let mut rules = Vec::new();
    for family in tables {
        let output = Command::new("nft")
            .args(["list", "table", family, "btblocker"])
            .output()
            .unwrap();
        assert!(output.status.success(), "{output:?}");
        let text = String::from_utf8(output.stdout).unwrap();
        let lines = text.lines().map(|line| line.trim().replace("policy accept;", ""));
        for line in lines.filter(|line| line.contains("accept") || line.contains("drop")) {
            let counted = line.split_once("counter packets ").map(|(_, rest)| rest);
            let packets = counted.and_then(|rest| rest.split(' ').next()?.parse().ok());
            assert!(
                line.contains(" drop comment ") && !line.contains("accept"),
                "{text}"
            );
            rules.push((packets.unwrap_or_else(|| panic!("no counter: {line}")), line));
        }
        assert!(!rules.is_empty(), "{text}");
    }
    rules
}

/// `leaving` names what a ban does not stop.
fn check(kind: BackendKind, hooks: Hooks, leaving: &[&str]) {
    let network = Network::new();
    let options = Options {
        hooks,
        interfaces: ["r1", "r2", "r3"].map(str::to_owned).to_vec(),
        xdp_pin: XdpPin::Off,
        ..Options::default()
    };
    let backend = network.router.run(move || {
        let mut backend = open(kind, &options).unwrap();
        backend.ensure().unwrap();
        Arc::new(Mutex::new(backend))
    });
    let apply = |changes: Vec<Change>| {
        let backend = Arc::clone(&backend);
        network
            .router
            .run(move || backend.lock().unwrap().apply(&changes).unwrap());
    };
    let all = Network::all_passing();
    assert_eq!(network.passing(PATIENTLY).len(), all, "nobody is banned yet");

    let rules = || network.router.run(move || rules(kind));
    let all_rules = rules();
    assert!(
        all_rules.iter().all(|(packets, _)| *packets == 0),
        "{all_rules:?}"
    );
    let established = network
        .banned
        .run(|| TARGETS.map(|target| connect(address(target), PATIENTLY).unwrap()));
    apply(BANNED.map(|address| ban(address, 600)).to_vec());
    assert_eq!(network.passing(BRIEFLY), leaving, "banned");
    let still = network
        .banned
        .run(move || established.iter().filter(|tcp| echoes_tcp(tcp, BRIEFLY)).count());
    assert_eq!(still, 0, "established flows stop as well");
    network.assert_innocent_passes();
    let unused = |networks| {
        rules()
            .into_iter()
            .filter(|(packets, rule)| *packets == 0 && rule.contains("networks") == networks)
            .collect::<Vec<_>>()
    };
    assert_eq!(unused(false), [], "rules for hosts count what they drop");

    apply(BANNED.map(unban).to_vec());
    assert_eq!(network.passing(PATIENTLY).len(), all, "unbanned");

    apply(vec![ban("10.1.0.0/24", 600), ban("fd01::/64", 600)]);
    assert_eq!(network.passing(BRIEFLY), leaving, "networks are banned");
    network.assert_innocent_passes();
    assert_eq!(unused(true), [], "rules for networks count what they drop");
    apply(vec![unban("10.1.0.0/24"), unban("fd01::/64")]);

    apply(BANNED.map(|address| ban(address, 2)).to_vec());
    assert!(
        !network.banned.run(|| echoes_udp(address(SERVER[0]), BRIEFLY)),
        "banned for two seconds"
    );
    network.router.run(move || {
        let mut backend = backend.lock().unwrap();
        let gone = eventually(Duration::from_secs(10), || backend.list().unwrap().is_empty());
        assert!(gone, "the kernel ends the ban");
        backend.teardown().unwrap();
    });
    assert_eq!(network.passing(PATIENTLY).len(), all, "the ban has run out");
}

const PREROUTING: Hooks = Hooks {
    input: false,
    forward: false,
    prerouting: true,
};

#[test]
fn ipset_stops_the_packets_of_banned_hosts() {
    check(BackendKind::Ipset, Hooks::default(), &[]);
}

#[test]
fn nftables_stops_the_packets_of_banned_hosts() {
    check(BackendKind::Nftables, Hooks::default(), &[]);
}

#[test]
fn ipset_at_prerouting_alone_stops_them() {
    check(BackendKind::Ipset, PREROUTING, &[]);
}

#[test]
fn nftables_at_prerouting_alone_stops_them() {
    check(BackendKind::Nftables, PREROUTING, &[]);
}

/// XDP sees what comes in: what the router itself sends to a banned host leaves, and the answer is dropped.
#[cfg(feature = "xdp")]
#[test]
fn xdp_stops_the_packets_of_banned_hosts() {
    let leaving = BANNED.map(|address| format!("router: one way to {address}"));
    check(
        BackendKind::Xdp,
        Hooks::default(),
        &leaving.each_ref().map(String::as_str),
    );
}
