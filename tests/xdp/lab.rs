//! Namespaces in which the tests run: nothing outside them is touched, and all end with the test's thread.
//!
//! ```text
//! far (10.2.0.2, fd00:2::2) ── wan0 router lan0 ── peer (10.1.0.2, .5, fd00:1::2, ::5)
//! ```
//! The test runs in the router. `/run` is its own, with a bpf filesystem at `/run/bpf`.

use std::ffi::CString;
use std::fs::File;
use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::AsRawFd;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::frames::PORT;

/// The addresses that the tests ban.
pub(crate) const BANNED: [&str; 2] = ["10.1.0.2", "fd00:1::2"];
/// Their neighbours, which they never ban.
pub(crate) const OTHERS: [&str; 2] = ["10.1.0.5", "fd00:1::5"];
/// Where state outlives processes.
pub(crate) const PIN_DIR: &str = "/run/bpf/btblocker";

/// How long something that must not come is waited for.
pub(crate) const ABSENCE: Duration = Duration::from_millis(250);
/// How long something that must come is waited for.
pub(crate) const PRESENCE: Duration = Duration::from_secs(10);

/// Runs a test in namespaces of its own.
pub(crate) fn in_namespaces(test: impl FnOnce() + Send + 'static) {
    // SAFETY: takes nothing.
    let user = unsafe { libc::geteuid() };
    assert_eq!(
        user, 0,
        "this test makes network namespaces and loads BPF: run it as root"
    );
    let body = move || {
        // SAFETY: takes numbers only; affects this thread.
        let ret = unsafe { libc::unshare(libc::CLONE_NEWNET | libc::CLONE_NEWNS) };
        assert_eq!(ret, 0, "unshare: {}", std::io::Error::last_os_error());
        mount("none", "/", "", libc::MS_REC | libc::MS_PRIVATE);
        mount("tmpfs", "/run", "tmpfs", 0);
        std::fs::create_dir_all("/run/netns").unwrap();
        std::fs::create_dir("/run/bpf").unwrap();
        mount("bpf", "/run/bpf", "bpf", 0);
        ip("link set lo up");
        test();
    };
    if let Err(panic) = thread::spawn(body).join() {
        std::panic::resume_unwind(panic);
    }
}

/// Mounts in the test's own mount namespace.
pub(crate) fn mount(source: &str, target: &str, kind: &str, flags: u64) {
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

/// Runs `ip`.
pub(crate) fn ip(arguments: &str) {
    let status = Command::new("ip")
        .args(arguments.split_whitespace())
        .status()
        .unwrap();
    assert!(status.success(), "ip {arguments}");
}

/// Router, peer and far side; the peer answers UDP and TCP on [`PORT`] of each of its addresses.
pub(crate) struct Lab {
    stop: Arc<AtomicBool>,
    servers: Vec<JoinHandle<()>>,
}

impl Lab {
    pub(crate) fn new() -> Self {
        ip("netns add peer");
        ip("netns add far");
        add_lan();
        ip("link add wan0 type veth peer name eth0 netns far");
        ip("addr add 10.2.0.1/24 dev wan0");
        ip("addr add fd00:2::1/64 dev wan0 nodad");
        ip("link set wan0 up");
        ip("-n far addr add 10.2.0.2/24 dev eth0");
        ip("-n far addr add fd00:2::2/64 dev eth0 nodad");
        ip("-n far link set eth0 up");
        ip("-n far route add default via 10.2.0.1");
        ip("-n far route add default via fd00:2::1");
        for file in ["ipv4/ip_forward", "ipv6/conf/all/forwarding"] {
            std::fs::write(Path::new("/proc/sys/net").join(file), "1").unwrap();
        }
        let mut lab = Self {
            stop: Arc::default(),
            servers: Vec::new(),
        };
        for address in BANNED.into_iter().chain(OTHERS) {
            lab.serve(address.parse().unwrap());
        }
        lab
    }

    fn serve(&mut self, address: IpAddr) {
        let bound = Arc::new(AtomicBool::new(false));
        let (stop, ready) = (Arc::clone(&self.stop), Arc::clone(&bound));
        self.servers.push(thread::spawn(move || {
            enter("peer");
            let tcp = TcpListener::bind((address, PORT)).unwrap();
            tcp.set_nonblocking(true).unwrap();
            let udp = UdpSocket::bind((address, PORT)).unwrap();
            udp.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
            ready.store(true, Ordering::Release);
            let mut buffer = [0; 64];
            while !stop.load(Ordering::Acquire) {
                // The kernel answers connections; they are only taken off its queue here.
                while tcp.accept().is_ok() {}
                if let Ok((len, from)) = udp.recv_from(&mut buffer) {
                    let _ = udp.send_to(&buffer[..len], from);
                }
            }
        }));
        eventually("the peer's sockets", || bound.load(Ordering::Acquire));
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
        for server in self.servers.drain(..) {
            let _ = server.join();
        }
    }
}

/// The link between router and peer; it can be deleted and added again.
pub(crate) fn add_lan() {
    ip("link add lan0 type veth peer name eth0 netns peer");
    ip("addr add 10.1.0.1/24 dev lan0");
    ip("addr add fd00:1::1/64 dev lan0 nodad");
    ip("link set lan0 up");
    for host in [2, 5] {
        ip(&format!("-n peer addr add 10.1.0.{host}/24 dev eth0"));
        ip(&format!("-n peer addr add fd00:1::{host}/64 dev eth0 nodad"));
    }
    ip("-n peer link set eth0 up");
    ip("-n peer route add default via 10.1.0.1");
    ip("-n peer route add default via fd00:1::1");
}

/// Moves the calling thread into a network namespace of the lab.
pub(crate) fn enter(namespace: &str) {
    let file = File::open(Path::new("/run/netns").join(namespace)).unwrap();
    // SAFETY: the descriptor is open; affects this thread.
    let ret = unsafe { libc::setns(file.as_raw_fd(), libc::CLONE_NEWNET) };
    assert_eq!(ret, 0, "setns {namespace}: {}", std::io::Error::last_os_error());
}

/// Waits until a condition holds.
pub(crate) fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < PRESENCE, "waited {PRESENCE:?} for {what}");
        thread::sleep(Duration::from_millis(10));
    }
}

/// How the peer is spoken to.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Probe {
    Tcp,
    Udp,
    Icmp,
}

impl Probe {
    pub(crate) const ALL: [Self; 3] = [Self::Tcp, Self::Udp, Self::Icmp];

    /// One try from the calling thread's namespace.
    fn once(self, address: IpAddr, wait: Duration) -> bool {
        let target = SocketAddr::new(address, PORT);
        match self {
            Self::Tcp => TcpStream::connect_timeout(&target, wait).is_ok(),
            Self::Udp => {
                let any = if address.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
                let socket = UdpSocket::bind(any).unwrap();
                socket.set_read_timeout(Some(wait)).unwrap();
                let answer = socket
                    .send_to(b"?", target)
                    .and_then(|_| socket.recv(&mut [0; 8]));
                match answer {
                    Ok(len) => len == 1,
                    Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                        false
                    }
                    Err(error) => panic!("udp to {target}: {error}"),
                }
            }
            Self::Icmp => Command::new("ping")
                .args(["-n", "-q", "-c1", "-W", &format!("{:.2}", wait.as_secs_f32())])
                .arg(address.to_string())
                .stdout(Stdio::null())
                .status()
                .unwrap()
                .success(),
        }
    }
}

/// Where a probe starts.
#[derive(Clone, Copy, Debug)]
pub(crate) enum From {
    /// The router itself: answers arrive in its input.
    Router,
    /// The far side: answers are forwarded.
    Far,
}

/// Whether one try gets no answer.
pub(crate) fn is_silent(from: From, probe: Probe, address: &str) -> bool {
    !ask(from, probe, address, ABSENCE)
}

/// Asserts that an answer comes, in several tries.
pub(crate) fn assert_answers(from: From, probe: Probe, address: &str) {
    eventually(&format!("{probe:?} to {address} from {from:?}"), || {
        ask(from, probe, address, Duration::from_secs(1))
    });
}

fn ask(from: From, probe: Probe, address: &str, wait: Duration) -> bool {
    let address = address.parse().unwrap();
    match from {
        From::Router => probe.once(address, wait),
        From::Far => thread::spawn(move || {
            enter("far");
            probe.once(address, wait)
        })
        .join()
        .unwrap(),
    }
}
