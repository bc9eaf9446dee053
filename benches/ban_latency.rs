//! How long BitTorrent passes, and how much: from the packet that proves it to the first packet that is dropped.
//!
//! ```text
//! cargo bench --bench ban_latency -- [SAMPLES [PACKETS_PER_SECOND [OPTION OF THE DAEMON...]]]
//! ```
//! A client with many addresses, a router with the real daemon, and a server, each in a network namespace. Per sample,
//! a fresh address connects and sends a handshake; from then on a probe datagram of the same address leaves every
//! 100 µs or so. The figure is the time from the handshake to the first probe that does not arrive any more, so it is
//! rounded up to the next probe. Then as many addresses upload as fast as they can from the handshake on; the figure is
//! what arrives. PACKETS_PER_SECOND more datagrams pass the router as background. Needs root and `ip`.

use std::error::Error;
use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::AsRawFd;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use socket2::{Domain, Socket, Type};

type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;

const SERVER: Ipv4Addr = Ipv4Addr::new(10, 2, 0, 2);
const PEER_PORT: u16 = 6881;
const PROBE_PORT: u16 = 7000;
const LOAD_PORT: u16 = 7001;
const BETWEEN_PROBES: Duration = Duration::from_micros(100);
/// Silence after which the ban counts as made.
const SILENCE: Duration = Duration::from_millis(10);
/// The same for a transfer, whose sender may wait for a core that long.
const TRANSFER_SILENCE: Duration = Duration::from_millis(100);
/// After this time a sample counts as never banned.
const LIMIT: Duration = Duration::from_secs(2);
/// A handshake (BEP 3) of a made-up client.
const HANDSHAKE: &[u8; 68] = b"\x13BitTorrent protocol\0\0\0\0\0\x10\0\x05\
    \xd0\x8b\xe1\x02\x9f\xc6\x11\x83\xa4\x7e\xf5\x18\xb9\x6c\x93\x04\xea\x57\x80\xcd-TR4060-latencybench";

fn main() -> Outcome<()> {
    // Cargo adds `--bench`.
    let arguments: Vec<String> = std::env::args()
        .skip(1)
        .filter(|word| word != "--bench")
        .collect();
    let number = |index: usize, default: u32| match arguments.get(index) {
        Some(text) => text.parse(),
        None => Ok(default),
    };
    let (samples, rate) = (number(0, 500)?, number(1, 0)?);
    let options = arguments.get(2..).unwrap_or_default();

    let router = build()?;
    let _daemon = Daemon::start(options)?;
    let listener = router.server.enter(|| TcpListener::bind((SERVER, PEER_PORT)))??;
    let received = Arc::new(AtomicU64::new(0));
    let count = Arc::clone(&received);
    thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let count = Arc::clone(&count);
            // Ends with the program: nothing but the ban ends a flow.
            thread::spawn(move || {
                let mut buffer = vec![0; 1 << 16];
                while let Ok(len @ 1..) = stream.read(&mut buffer) {
                    count.fetch_add(len as u64, Ordering::Relaxed);
                }
            });
        }
    });
    let sink = router.server.enter(|| UdpSocket::bind((SERVER, PROBE_PORT)))??;
    sink.set_nonblocking(true)?;
    let load = Load::start(&router, rate)?;

    let mut took = Vec::new();
    for sample in 0..samples {
        took.push(measure(
            &router.client,
            &sink,
            Ipv4Addr::from_bits(0x0a64_0000 + sample),
        )?);
    }
    let mut leaked = Vec::new();
    for sample in samples..2 * samples {
        leaked.push(transfer(
            &router.client,
            &received,
            Ipv4Addr::from_bits(0x0a64_0000 + sample),
        )?);
    }
    let passed = load.finish();
    println!("{samples} samples, {passed:.0} packets/s in the background, options {options:?}:");
    show(
        "time until dropped, ms",
        took.into_iter().map(|took| Some(took?.as_secs_f64() * 1e3)),
    );
    show(
        "leaked by an upload, KiB",
        leaked.into_iter().map(|bytes| Some(bytes? as f64 / 1_024.0)),
    );
    Ok(())
}

/// Prints how figures are spread; one that is absent is of a host that was not banned.
fn show(what: &str, figures: impl Iterator<Item = Option<f64>>) {
    let (mut known, mut missing) = (Vec::new(), 0);
    for figure in figures {
        match figure {
            Some(figure) => known.push(figure),
            None => missing += 1,
        }
    }
    known.sort_by(f64::total_cmp);
    let at = |share: f64| {
        let index = ((known.len() as f64 * share).ceil() as usize).saturating_sub(1);
        known.get(index).copied().unwrap_or_default()
    };
    println!(
        "{what:<26} p50 {:.2}, p90 {:.2}, p99 {:.2}, most {:.2}, never banned {missing}",
        at(0.5),
        at(0.9),
        at(0.99),
        at(1.0)
    );
}

/// One upload: bytes that arrive; `None` when it does not end.
fn transfer(client: &Space, received: &AtomicU64, address: Ipv4Addr) -> Outcome<Option<u64>> {
    let mut stream = client.enter(|| connect(address))??;
    received.store(0, Ordering::Relaxed);
    let start = Instant::now();
    stream.write_all(HANDSHAKE)?;
    stream.set_nonblocking(true)?;
    let (mut last, mut grown) = (0, start);
    loop {
        if stream.write(&[0; 1 << 16]).is_err() {
            thread::sleep(BETWEEN_PROBES);
        }
        let now = received.load(Ordering::Relaxed);
        if now > last {
            (last, grown) = (now, Instant::now());
        }
        if grown.elapsed() > TRANSFER_SILENCE {
            return Ok(Some(last));
        }
        if start.elapsed() > LIMIT {
            return Ok(None);
        }
    }
}

/// A connection from an address of the client, whose namespace the calling thread is in.
fn connect(address: Ipv4Addr) -> std::io::Result<TcpStream> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    socket.bind(&SocketAddr::new(address.into(), 0).into())?;
    socket.connect(&SocketAddr::new(SERVER.into(), PEER_PORT).into())?;
    Ok(socket.into())
}

/// One sample: time from the handshake to the first dropped probe; `None` when none was dropped.
fn measure(client: &Space, sink: &UdpSocket, address: Ipv4Addr) -> Outcome<Option<Duration>> {
    let (mut stream, probes) = client.enter(|| -> std::io::Result<(TcpStream, UdpSocket)> {
        Ok((connect(address)?, UdpSocket::bind((address, 0))?))
    })??;
    probes.connect((SERVER, PROBE_PORT))?;
    let mut buffer = [0; 8];
    while sink.recv(&mut buffer).is_ok() {}

    let start = Instant::now();
    stream.write_all(HANDSHAKE)?;
    // Probe numbers are indices.
    let mut sent: Vec<Duration> = Vec::new();
    let mut arrived = None;
    loop {
        let now = start.elapsed();
        let number = sent.len();
        sent.push(now);
        probes.send(&(number as u64).to_be_bytes())?;
        while sink.recv(&mut buffer).is_ok() {
            arrived = arrived.max(usize::try_from(u64::from_be_bytes(buffer)).ok());
        }
        let first_lost = arrived.map_or(0, |last| last + 1);
        match sent.get(first_lost) {
            Some(&lost) if now - lost > SILENCE => return Ok(Some(lost)),
            _ if now > LIMIT => return Ok(None),
            _ => thread::sleep(BETWEEN_PROBES),
        }
    }
}

/// A named network namespace.
struct Space(File);

impl Space {
    /// Runs `job` inside, on a thread of its own.
    fn enter<T: Send>(&self, job: impl FnOnce() -> T + Send) -> Outcome<T> {
        let fd = self.0.as_raw_fd();
        let inside = || {
            // SAFETY: the descriptor is open as long as `self` lives; affects this thread.
            match unsafe { libc::setns(fd, libc::CLONE_NEWNET) } {
                0 => Ok(job()),
                _ => Err(std::io::Error::last_os_error()),
            }
        };
        let joined = thread::scope(|scope| scope.spawn(inside).join());
        Ok(joined.map_err(|_| "a thread panicked")??)
    }
}

struct Router {
    client: Space,
    server: Space,
}

/// Makes the calling thread's network namespace the router between two others.
fn build() -> Outcome<Router> {
    // SAFETY: takes numbers only; affects this thread.
    if unsafe { libc::unshare(libc::CLONE_NEWNET | libc::CLONE_NEWNS) } != 0 {
        return Err("namespaces are needed: run it as root".into());
    }
    run(
        "mount --make-rprivate / && mount -t tmpfs tmpfs /run && mkdir /run/netns
         mount -t bpf bpf /sys/fs/bpf
         echo 1 > /proc/sys/net/ipv4/ip_forward
         ip link set lo up && ip netns add client && ip netns add server
         ip link add lan0 type veth peer name eth0 netns client
         ip link add wan0 type veth peer name eth0 netns server
         ip addr add 10.1.0.1/24 dev lan0 && ip link set lan0 up
         ip addr add 10.2.0.1/24 dev wan0 && ip link set wan0 up
         ip route add 10.100.0.0/16 via 10.1.0.2
         ip -n client addr add 10.1.0.2/24 dev eth0 && ip -n client link set eth0 up
         ip -n client link set lo up && ip -n client route add local 10.100.0.0/16 dev lo
         ip -n client route add default via 10.1.0.1
         ip -n server addr add 10.2.0.2/24 dev eth0 && ip -n server link set eth0 up
         ip -n server route add default via 10.2.0.1",
    )?;
    let space = |name: &str| File::open(format!("/run/netns/{name}")).map(Space);
    Ok(Router {
        client: space("client")?,
        server: space("server")?,
    })
}

fn run(script: &str) -> Outcome<()> {
    let status = Command::new("sh").args(["-ec", script]).status()?;
    if status.success() {
        Ok(())
    } else {
        Err("the namespaces cannot be made".into())
    }
}

/// The daemon; killed when dropped.
struct Daemon(Child);

impl Daemon {
    fn start(options: &[String]) -> Outcome<Self> {
        let mut child = Command::new(env!("CARGO_BIN_EXE_btblocker"))
            .args(["--interface", "lan0", "--ban-target", "client"])
            .args(options)
            .stderr(Stdio::piped())
            .spawn()?;
        let stderr = child.stderr.take().ok_or("no standard error")?;
        let daemon = Self(child);
        let mut lines = BufReader::new(stderr).lines();
        let ready = lines.by_ref().map_while(Result::ok).any(|line| {
            let ready = line.contains("capturing on");
            if !ready {
                eprintln!("{line}");
            }
            ready
        });
        if !ready {
            return Err("the daemon ended early".into());
        }
        // Read on, so that the daemon never waits for a full pipe.
        thread::spawn(move || lines.map_while(Result::ok).for_each(drop));
        Ok(daemon)
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Datagrams of an unsuspicious kind, through the router.
struct Load {
    stop: Arc<AtomicBool>,
    sent: Arc<AtomicU64>,
    start: Instant,
}

impl Load {
    fn start(router: &Router, rate: u32) -> Outcome<Self> {
        let sink = router.server.enter(|| UdpSocket::bind((SERVER, LOAD_PORT)))??;
        let sources = router.client.enter(|| -> std::io::Result<Vec<UdpSocket>> {
            let bind = |_| UdpSocket::bind((Ipv4Addr::new(10, 1, 0, 2), 0));
            (0..64).map(bind).collect()
        })??;
        let load = Self {
            stop: Arc::default(),
            sent: Arc::default(),
            start: Instant::now(),
        };
        let (stop, sent) = (Arc::clone(&load.stop), Arc::clone(&load.sent));
        thread::spawn(move || {
            // Never read: what does not fit is dropped at the end of its way.
            let _sink = sink;
            let start = Instant::now();
            let mut done = 0;
            while !stop.load(Ordering::Relaxed) {
                let due = (start.elapsed().as_secs_f64() * f64::from(rate)) as u64;
                for source in sources.iter().cycle().take(due.saturating_sub(done) as usize) {
                    let _ = source.send_to(&[0; 200], (SERVER, LOAD_PORT));
                }
                done = due.max(done);
                sent.store(done, Ordering::Relaxed);
                thread::sleep(Duration::from_micros(500));
            }
        });
        Ok(load)
    }

    /// Ends it; packets per second.
    fn finish(self) -> f64 {
        self.stop.store(true, Ordering::Relaxed);
        self.sent.load(Ordering::Relaxed) as f64 / self.start.elapsed().as_secs_f64()
    }
}
