//! What stays when the process is killed: with pins everything until the deadlines, without pins nothing.

use std::env;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use btblocker::backend::{Options, Xdp, XdpMode, XdpPin};
use btblocker::ban::SetBackend;

use crate::lab::{self, BANNED, From, Lab, PIN_DIR, Probe, assert_answers, is_silent};
use crate::{attached, ban, listed, options};

/// Says to the copy of this program that it is the daemon: pin and length of the ban in seconds.
const DAEMON: &str = "BTBLOCKER_TEST_XDP_DAEMON";

/// Bans the peer's first address and waits to be killed. Does nothing unless a test below starts it.
#[test]
fn daemon_of_the_tests_below() {
    let Ok(orders) = env::var(DAEMON) else { return };
    let (pin, secs) = orders.split_once(' ').unwrap();
    let options = Options {
        xdp_pin: pin.parse().unwrap(),
        ..options("lan0", XdpMode::Auto)
    };
    let mut xdp = Xdp::open(&options).unwrap();
    xdp.ensure().unwrap();
    xdp.apply(&[ban(BANNED[0], secs.parse().unwrap())]).unwrap();
    println!("\nbanned");
    std::io::stdout().flush().unwrap();
    // Killed before that; the bound keeps a forgotten copy from staying.
    std::thread::sleep(Duration::from_secs(60));
}

/// Starts the daemon in this thread's namespaces; it has banned when this returns.
fn start(pin: &XdpPin, secs: u32) -> Child {
    let mut daemon = Command::new(env::current_exe().unwrap())
        .args(["--exact", "survive::daemon_of_the_tests_below", "--nocapture"])
        .env(DAEMON, format!("{pin} {secs}"))
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let output = BufReader::new(daemon.stdout.take().unwrap());
    assert!(
        output.lines().any(|line| line.unwrap() == "banned"),
        "the daemon ended early"
    );
    daemon
}

fn kill(mut daemon: Child) {
    daemon.kill().unwrap();
    daemon.wait().unwrap();
}

#[test]
fn pinned_bans_outlive_a_kill_and_end_in_the_kernel() {
    lab::in_namespaces(|| {
        let _lab = Lab::new();
        assert_answers(From::Router, Probe::Udp, BANNED[0]);
        let start_time = Instant::now();
        kill(start(&XdpPin::At(PIN_DIR.into()), 3));
        assert!(is_silent(From::Router, Probe::Udp, BANNED[0]));
        assert_answers(From::Router, Probe::Udp, BANNED[0]);
        assert!(start_time.elapsed() >= Duration::from_millis(2900));
    });
}

#[test]
fn the_next_process_takes_pinned_bans_over() {
    lab::in_namespaces(|| {
        let _lab = Lab::new();
        kill(start(&XdpPin::At(PIN_DIR.into()), 600));

        let mut next = Xdp::open(&options("lan0", XdpMode::Auto)).unwrap();
        next.verify().unwrap();
        let remaining = next.list().unwrap()[0].remaining.unwrap();
        assert!(remaining > Duration::from_secs(500) && remaining <= Duration::from_secs(600));
        next.ensure().unwrap();
        next.verify().unwrap();
        assert_eq!(listed(&mut next), [BANNED[0].parse().unwrap()]);
        assert!(is_silent(From::Router, Probe::Udp, BANNED[0]));
        next.apply(&[crate::unban(BANNED[0])]).unwrap();
        assert_answers(From::Router, Probe::Udp, BANNED[0]);
        next.teardown().unwrap();
        assert!(!Path::new(PIN_DIR).exists());
    });
}

#[test]
fn pins_left_behind_can_be_torn_down() {
    lab::in_namespaces(|| {
        let _lab = Lab::new();
        kill(start(&XdpPin::At(PIN_DIR.into()), 600));
        assert!(is_silent(From::Router, Probe::Udp, BANNED[0]));
        Xdp::open(&options("lan0", XdpMode::Auto))
            .unwrap()
            .teardown()
            .unwrap();
        assert_answers(From::Router, Probe::Udp, BANNED[0]);
        assert!(!Path::new(PIN_DIR).exists());
        attached("lan0", XdpMode::Auto);
    });
}

#[test]
fn bans_without_pins_end_with_the_process() {
    lab::in_namespaces(|| {
        let _lab = Lab::new();
        assert_answers(From::Router, Probe::Udp, BANNED[0]);
        let daemon = start(&XdpPin::Off, 600);
        assert!(is_silent(From::Router, Probe::Udp, BANNED[0]));
        kill(daemon);
        assert_answers(From::Router, Probe::Udp, BANNED[0]);
    });
}

#[test]
fn pins_go_where_a_bpf_filesystem_is_mounted() {
    lab::in_namespaces(|| {
        let automatic = Options {
            xdp_pin: XdpPin::Auto,
            ..options("lo", XdpMode::Auto)
        };
        // Containers show a part of sysfs only.
        if !Path::new("/sys/fs/bpf").exists() {
            lab::mount("sysfs", "/sys", "sysfs", 0);
        }
        for (kind, pinned) in [("tmpfs", false), ("bpf", true)] {
            lab::mount(kind, "/sys/fs/bpf", kind, 0);
            let mut xdp = Xdp::open(&automatic).unwrap();
            xdp.ensure().unwrap();
            xdp.apply(&[ban(BANNED[0], 600)]).unwrap();
            assert_eq!(Path::new(XdpPin::DEFAULT_DIR).exists(), pinned, "{kind}");
            drop(xdp);
            let mut next = Xdp::open(&automatic).unwrap();
            next.ensure().unwrap();
            assert_eq!(listed(&mut next).len(), usize::from(pinned), "{kind}");
            next.teardown().unwrap();
        }
    });
}
