//! One capture thread on an interface beside several that share its frames (`PACKET_FANOUT`): CPU time and loss at the
//! highest rate of a sender on a veth pair.
//!
//! ```text
//! cargo bench --bench fanout -- [SECONDS]
//! ```
//! Each thread captures and inspects in place, as the daemon's does with `workers = 0`. Frames are UDP of 1,000 flows.
//! CPU time is that of the capture threads; what the kernel does for them while it takes a frame from the sender shows in
//! the sender's rate. Runs as root, in a network namespace of its own.

mod measure;

use std::error::Error;
use std::io;
use std::num::{NonZeroU32, NonZeroUsize};
use std::process::Command;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use btblocker::capture::{CaptureStatus, FrameBatch, FrameMeta, FrameSink, LiveCapture, LiveOptions, Stop};
use btblocker::metrics::Board;
use btblocker::network::Ingress;
use btblocker::pipeline::{Dispatcher, Published, Settings, Workers};

type Failure = Box<dyn Error + Send + Sync>;

const FLOWS: u16 = 1_000;
/// Threads, and whether they are in a fanout group.
const CASES: [(usize, bool); 4] = [(1, false), (1, true), (2, true), (4, true)];
const ROUNDS: usize = 3;

fn main() -> Result<(), Failure> {
    let seconds = std::env::args()
        .skip(1)
        .find_map(|word| word.parse().ok())
        .unwrap_or(3);
    // SAFETY: takes a number only; affects this process, which has one thread.
    if unsafe { libc::unshare(libc::CLONE_NEWNET) } != 0 {
        return Err("a network namespace is needed: run it as root".into());
    }
    for arguments in [
        "link add v0 type veth peer name v1",
        "link set v0 up",
        "link set v1 up",
    ] {
        let status = Command::new("ip").args(arguments.split(' ')).status()?;
        if !status.success() {
            return Err(format!("ip {arguments} fails").into());
        }
    }
    println!(
        "{:<6} {:<8} {:<7} {:>10} {:>8} {:>10} {:>13} {:>9}",
        "frame", "threads", "fanout", "frames/s", "lost", "CPU share", "CPU ns/frame", "busiest"
    );
    for size in [64, 1400] {
        // In turns, so that what else the machine does hits all alike.
        for _ in 0..ROUNDS {
            for (threads, fanout) in CASES {
                measure(size, threads, fanout, Duration::from_secs(seconds))?;
            }
        }
    }
    Ok(())
}

/// A thread's inspection, and whether it captures.
struct Sink {
    dispatcher: Dispatcher,
    running: Sender<()>,
}

impl FrameSink for Sink {
    fn frames(&mut self, batch: &mut FrameBatch) {
        self.dispatcher.dispatch(batch);
    }
    fn frame(&mut self, meta: &FrameMeta, bytes: &[u8]) -> bool {
        self.dispatcher.frame(meta, bytes)
    }
    fn end_of_block(&mut self) {
        self.dispatcher.rest();
    }
    fn status(&mut self, status: &CaptureStatus) {
        if *status == CaptureStatus::Running {
            let _ = self.running.send(());
        }
    }
}

fn measure(size: usize, threads: usize, fanout: bool, time: Duration) -> Result<(), Failure> {
    let options = LiveOptions {
        fanout: fanout.then_some(1),
        ..LiveOptions::default()
    };
    let (reports, _judge) = crossbeam_channel::bounded(1 << 16);
    let board = Board::default();
    let workers = Workers::start(
        0,
        NonZeroUsize::MIN,
        Settings::new(NonZeroU32::MIN.saturating_add(1 << 18)),
        Published::new(Ingress::default()),
        reports,
        board.clone(),
    )?;
    let (running, all_run) = channel();
    let stop = Stop::new()?;
    let (mut captures, mut counters) = (Vec::new(), Vec::new());
    for _ in 0..threads {
        let mut capture = LiveCapture::open("v1", 0, &options)?;
        counters.push(capture.counters());
        let mut sink = Sink {
            dispatcher: workers.dispatcher(),
            running: running.clone(),
        };
        let stop = stop.clone();
        captures.push(thread::spawn(move || -> Result<u64, Failure> {
            capture.run(&mut sink, &stop)?;
            Ok(measure::cpu_nanos(libc::CLOCK_THREAD_CPUTIME_ID))
        }));
    }
    wait(&all_run, threads)?;
    let (sent, took) = thread::spawn(move || send(size, time))
        .join()
        .map_err(|_| "the sender panicked")??;
    // The rings still hold some.
    let mut seen = 0;
    while seen < board.total().frames {
        seen = board.total().frames;
        thread::sleep(Duration::from_millis(50));
    }
    stop.stop();
    let cpu = captures
        .into_iter()
        .map(joined)
        .collect::<Result<Vec<u64>, Failure>>()?;
    let busiest = cpu.iter().copied().max().unwrap_or(0) as f64 / took.as_nanos() as f64;
    let all: u64 = cpu.iter().sum();
    println!(
        "{size:<6} {threads:<8} {:<7} {:>10.0} {:>7.3}% {:>9.1}% {:>13.0} {:>8.1}%",
        if fanout { "yes" } else { "no" },
        sent as f64 / took.as_secs_f64(),
        100.0 * (1.0 - seen as f64 / sent as f64).max(0.0),
        100.0 * all as f64 / took.as_nanos() as f64,
        all as f64 / sent as f64,
        100.0 * busiest,
    );
    Ok(())
}

fn wait(all_run: &Receiver<()>, threads: usize) -> Result<(), Failure> {
    for _ in 0..threads {
        all_run.recv_timeout(Duration::from_secs(10))?;
    }
    Ok(())
}

fn joined(thread: JoinHandle<Result<u64, Failure>>) -> Result<u64, Failure> {
    thread.join().map_err(|_| "a capture thread panicked")?
}

/// Sends frames as fast as it goes; their number and the time that it took.
fn send(size: usize, time: Duration) -> Result<(u64, Duration), Failure> {
    let frames: Vec<Vec<u8>> = (0..FLOWS).map(|flow| frame(flow, size)).collect();
    let mut parts: Vec<libc::iovec> = frames
        .iter()
        .map(|frame| libc::iovec {
            iov_base: frame.as_ptr().cast_mut().cast(),
            iov_len: frame.len(),
        })
        .collect();
    let mut messages: Vec<libc::mmsghdr> = parts
        .iter_mut()
        .map(|part| {
            // SAFETY: all zeros are a valid message header without anything.
            let mut message: libc::mmsghdr = unsafe { std::mem::zeroed() };
            (message.msg_hdr.msg_iov, message.msg_hdr.msg_iovlen) = (part, 1);
            message
        })
        .collect();
    let socket = packet_socket()?;
    let (start, mut sent) = (Instant::now(), 0);
    while start.elapsed() < time {
        // SAFETY: `messages` and all that they point to outlive the call, and their number is right.
        let count = unsafe { libc::sendmmsg(socket, messages.as_mut_ptr(), messages.len() as u32, 0) };
        if count < 0 {
            let error = io::Error::last_os_error();
            if error.raw_os_error() != Some(libc::ENOBUFS) {
                return Err(error.into());
            }
        }
        sent += u64::try_from(count).unwrap_or(0);
    }
    let took = start.elapsed();
    // SAFETY: the descriptor is this function's and is not used again.
    unsafe { libc::close(socket) };
    Ok((sent, took))
}

/// A socket that sends frames out of `v0` past its queue.
fn packet_socket() -> io::Result<libc::c_int> {
    let check = |code: libc::c_int| {
        if code < 0 {
            Err(io::Error::last_os_error())
        } else {
            Ok(code)
        }
    };
    // SAFETY: takes numbers only.
    let socket = check(unsafe { libc::socket(libc::AF_PACKET, libc::SOCK_RAW, 0) })?;
    // SAFETY: the name is terminated.
    let index = unsafe { libc::if_nametoindex(c"v0".as_ptr()) };
    // SAFETY: all zeros are a valid address of this kind.
    let mut address: libc::sockaddr_ll = unsafe { std::mem::zeroed() };
    address.sll_family = libc::AF_PACKET as u16;
    address.sll_ifindex = index as i32;
    let length = size_of_val(&address) as libc::socklen_t;
    // SAFETY: the address and its length are those of a live value.
    check(unsafe { libc::bind(socket, (&raw const address).cast(), length) })?;
    let on: libc::c_int = 1;
    let length = size_of_val(&on) as libc::socklen_t;
    // SAFETY: the pointer and the length are those of a live integer.
    check(unsafe {
        libc::setsockopt(
            socket,
            libc::SOL_PACKET,
            libc::PACKET_QDISC_BYPASS,
            (&raw const on).cast(),
            length,
        )
    })?;
    Ok(socket)
}

/// A UDP frame of one flow.
fn frame(flow: u16, size: usize) -> Vec<u8> {
    let length = size as u16 - 14;
    let mut frame = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 8, 0, 0x45, 0];
    frame.extend(length.to_be_bytes());
    frame.extend([0, 0, 0x40, 0, 64, 17, 0, 0, 10, 0]);
    frame.extend(flow.to_be_bytes());
    frame.extend([198, 18, 0, 1]);
    frame.extend((20_000 + flow).to_be_bytes());
    frame.extend(4500_u16.to_be_bytes());
    frame.extend((length - 20).to_be_bytes());
    frame.extend([0, 0]);
    frame.extend(
        (0..)
            .map(|number: u32| (number.wrapping_mul(0x9e37_79b1) >> 24) as u8)
            .take(size - frame.len()),
    );
    frame
}
