//! Where the cells live: a router that bans, a server behind it, and hosts on links of several kinds.
//!
//! ```text
//! wire      10.1.0.x fd00:1::x ── wire0 (Ethernet)        ┐
//! tunnel    10.2.0.x fd00:2::x ── tun0 (raw IP)           │
//! container 10.3.0.x fd00:3::x ── port0 of br0 (bridge)   ├ router ── wan0 ── server 10.9.0.2 fd00:9::2
//! tagged    10.4.0.x fd00:4::x ── trunk0.5 (VLAN)         ┘
//! ```
//! The router has a firewall of its own that accepts what is established. `/run` is the test's own, with a bpf
//! filesystem at `/run/bpf`.

use std::ffi::CString;
use std::fs::{self, File, OpenOptions};
use std::io::{Read, Write};
use std::net::{Ipv6Addr, TcpListener, UdpSocket};
use std::os::fd::AsRawFd;
use std::path::Path;
use std::process::Command;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use crate::namespace::ip;

/// Port of the echo servers in router and server.
pub(crate) const PORT: u16 = 6881;
/// Last parts of the addresses that each link's hosts have.
pub(crate) const HOSTS: std::ops::RangeInclusive<u8> = 10..=13;

/// A kind of link between the router and hosts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Link {
    Ethernet,
    Tunnel,
    Bridge,
    Vlan,
}

impl Link {
    pub(crate) const ALL: [Self; 4] = [Self::Ethernet, Self::Tunnel, Self::Bridge, Self::Vlan];

    /// The interface of the router.
    pub(crate) fn device(self) -> &'static str {
        match self {
            Self::Ethernet => "wire0",
            Self::Tunnel => "tun0",
            Self::Bridge => "br0",
            Self::Vlan => "trunk0.5",
        }
    }

    /// The namespace of the hosts.
    pub(crate) fn space(self) -> &'static str {
        match self {
            Self::Ethernet => "wire",
            Self::Tunnel => "tunnel",
            Self::Bridge => "container",
            Self::Vlan => "tagged",
        }
    }

    /// Part of its addresses.
    pub(crate) fn number(self) -> u8 {
        match self {
            Self::Ethernet => 1,
            Self::Tunnel => 2,
            Self::Bridge => 3,
            Self::Vlan => 4,
        }
    }

    /// Makes both ends; what the kernel says where it cannot.
    pub(crate) fn make(self) -> Result<(), String> {
        let (device, space, number) = (self.device(), self.space(), self.number());
        match self {
            Self::Ethernet => ip("link add wire0 type veth peer name eth0 netns wire"),
            Self::Tunnel => relay(),
            Self::Bridge => {
                ip("link add br0 type bridge");
                ip("link add port0 type veth peer name eth0 netns container");
                ip("link set port0 master br0");
                ip("link set port0 up");
            }
            Self::Vlan => {
                ip("link add trunk0 type veth peer name trunk netns tagged");
                ip("link set trunk0 up");
                ip("-n tagged link set trunk up");
                try_sh("ip link add link trunk0 name trunk0.5 type vlan id 5")?;
                try_sh("ip -n tagged link add link trunk name eth0 type vlan id 5")?;
            }
        }
        ip(&format!("addr add 10.{number}.0.1/24 dev {device}"));
        ip(&format!("addr add fd00:{number}::1/64 dev {device} nodad"));
        ip(&format!("link set {device} up"));
        for host in HOSTS {
            ip(&format!("-n {space} addr add 10.{number}.0.{host}/24 dev eth0"));
            ip(&format!(
                "-n {space} addr add fd00:{number}::{host}/64 dev eth0 nodad"
            ));
        }
        ip(&format!("-n {space} link set eth0 up"));
        ip(&format!("-n {space} route add default via 10.{number}.0.1"));
        ip(&format!("-n {space} route add default via fd00:{number}::1"));
        Ok(())
    }
}

/// Makes everything around the calling thread, whose network namespace becomes the router. Links that this kernel
/// cannot make, with its reason.
pub(crate) fn build() -> Vec<(Link, String)> {
    // SAFETY: takes numbers only; affects this thread.
    let ret = unsafe { libc::unshare(libc::CLONE_NEWNS) };
    assert_eq!(ret, 0, "unshare: {}", std::io::Error::last_os_error());
    mount("none", "/", "", libc::MS_REC | libc::MS_PRIVATE);
    mount("tmpfs", "/run", "tmpfs", 0);
    fs::create_dir_all("/run/netns").unwrap();
    fs::create_dir("/run/bpf").unwrap();
    mount("bpf", "/run/bpf", "bpf", 0);

    for file in ["ipv4/ip_forward", "ipv6/conf/all/forwarding"] {
        fs::write(Path::new("/proc/sys/net").join(file), "1").unwrap();
    }
    for hook in ["input", "forward"] {
        sh(&format!(
            "nft 'add table inet host; add chain inet host {hook} {{ type filter hook {hook} priority 0; }};
                  add rule inet host {hook} ct state established accept'"
        ));
    }
    ip("netns add server");
    ip("link add wan0 type veth peer name eth0 netns server");
    ip("addr add 10.9.0.1/24 dev wan0");
    ip("addr add fd00:9::1/64 dev wan0 nodad");
    ip("link set wan0 up");
    ip("-n server addr add 10.9.0.2/24 dev eth0");
    ip("-n server addr add fd00:9::2/64 dev eth0 nodad");
    ip("-n server link set eth0 up");
    ip("-n server route add default via 10.9.0.1");
    ip("-n server route add default via fd00:9::1");
    serve();
    in_space("server", serve);
    Link::ALL
        .into_iter()
        .inspect(|link| ip(&format!("netns add {}", link.space())))
        .filter_map(|link| link.make().err().map(|why| (link, why)))
        .collect()
}

fn mount(source: &str, target: &str, kind: &str, flags: u64) {
    let [source, target, kind] = [source, target, kind].map(|text| CString::new(text).unwrap());
    // SAFETY: three terminated strings that outlive the call, and no data.
    let ret = unsafe {
        libc::mount(
            source.as_ptr(),
            target.as_ptr(),
            kind.as_ptr(),
            flags,
            std::ptr::null(),
        )
    };
    assert_eq!(ret, 0, "mount {target:?}: {}", std::io::Error::last_os_error());
}

/// Runs `job` in a namespace of the lab.
pub(crate) fn in_space<T: Send>(space: &str, job: impl FnOnce() -> T + Send) -> T {
    let inside = || {
        let file = File::open(Path::new("/run/netns").join(space)).unwrap();
        // SAFETY: the descriptor is open; affects this thread.
        let ret = unsafe { libc::setns(file.as_raw_fd(), libc::CLONE_NEWNET) };
        assert_eq!(ret, 0, "setns {space}: {}", std::io::Error::last_os_error());
        job()
    };
    match thread::scope(|scope| scope.spawn(inside).join()) {
        Ok(result) => result,
        Err(panic) => std::panic::resume_unwind(panic),
    }
}

/// Echoes UDP datagrams and TCP streams from the calling thread's namespace for as long as the test program runs.
fn serve() {
    let everywhere = (Ipv6Addr::UNSPECIFIED, PORT);
    let (udp, tcp) = (
        UdpSocket::bind(everywhere).unwrap(),
        TcpListener::bind(everywhere).unwrap(),
    );
    thread::spawn(move || {
        let mut buffer = [0; 128];
        while let Ok((len, from)) = udp.recv_from(&mut buffer) {
            let _ = udp.send_to(&buffer[..len], from);
        }
    });
    thread::spawn(move || {
        for stream in tcp.incoming().flatten() {
            thread::spawn(move || std::io::copy(&mut &stream, &mut &stream));
        }
    });
}

/// A tun device in the calling thread's namespace.
fn tun(name: &str) -> File {
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .open("/dev/net/tun")
        .unwrap();
    // SAFETY: `ifreq` is made of numbers and bytes, for which zero is valid.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(name.bytes()) {
        *to = libc::c_char::from_ne_bytes([from]);
    }
    request.ifr_ifru.ifru_flags = (libc::IFF_TUN | libc::IFF_NO_PI) as i16;
    // SAFETY: the request is an `ifreq` with a terminated name and outlives the call.
    let ret = unsafe { libc::ioctl(file.as_raw_fd(), libc::TUNSETIFF, &raw mut request) };
    assert_eq!(ret, 0, "TUNSETIFF: {}", std::io::Error::last_os_error());
    file
}

/// Joins two tun devices like the ends of a tunnel.
fn relay() {
    let (near, far) = (tun("tun0"), in_space("tunnel", || tun("eth0")));
    for (from, to) in [(near.try_clone().unwrap(), far.try_clone().unwrap()), (far, near)] {
        thread::spawn(move || {
            let mut packet = [0; 65_536];
            let (mut from, mut to) = (from, to);
            loop {
                match from.read(&mut packet) {
                    // A device that is down loses packets, as a tunnel may.
                    Ok(len) => drop(to.write_all(&packet[..len])),
                    Err(_) => thread::sleep(Duration::from_millis(5)),
                }
            }
        });
    }
}

/// Runs a shell command; what it wrote to standard error when it fails.
pub(crate) fn try_sh(command: &str) -> Result<String, String> {
    let output = Command::new("sh").args(["-c", command]).output().unwrap();
    let [said, wrong] =
        [output.stdout, output.stderr].map(|text| String::from_utf8_lossy(&text).into_owned());
    if output.status.success() {
        Ok(said)
    } else {
        Err(wrong.trim().to_owned())
    }
}

/// Runs a shell command that must succeed.
pub(crate) fn sh(command: &str) -> String {
    try_sh(command).unwrap_or_else(|wrong| panic!("{command}: {wrong}"))
}

/// Gives what `probe` gives first, within ten seconds.
pub(crate) fn eventually<T>(what: &str, mut probe: impl FnMut() -> Option<T>) -> T {
    const LIMIT: Duration = Duration::from_secs(10);
    let start = Instant::now();
    while start.elapsed() < LIMIT {
        if let Some(found) = probe() {
            return found;
        }
        thread::sleep(Duration::from_millis(20));
    }
    panic!("{what} did not happen in {LIMIT:?}");
}

/// A receiver that a thread fills with lines.
pub(crate) fn lines_of(stream: impl Read + Send + 'static) -> mpsc::Receiver<String> {
    use std::io::{BufRead, BufReader};
    let (sender, lines) = mpsc::channel();
    thread::spawn(move || {
        for line in BufReader::new(stream).lines().map_while(Result::ok) {
            let _ = sender.send(line);
        }
    });
    lines
}
