//! Threads that panic and memory that runs out: the program ends loudly, bans stay in the kernel, and the next start
//! takes them over.

use std::fs;
use std::io;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{self, ExitStatus};
use std::time::{Duration, Instant};

use btblocker::backend::{BackendKind, Options, open};

use crate::clock::monotonic;
use crate::namespace::in_namespace;
use crate::program::{Daemon, Lab, wait_for};

const BY_HAND: &str = "198.51.100.9";

/// Preloaded: from the second `FAIL_AT` of the monotonic clock on, the thread `FAIL_IN` cannot read it, at which the
/// standard library panics. Threads are known by the names they are given; the first has none.
const FAILING_CLOCK: &str = r#"
#define _GNU_SOURCE
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static __thread char own[16] = "main";

int pthread_setname_np(pthread_t thread, const char *name)
{
    strncpy(own, name, sizeof(own) - 1);
    return 0;
}

int clock_gettime(clockid_t clock, struct timespec *time)
{
    int ret = syscall(SYS_clock_gettime, clock, time);

    if (clock != CLOCK_MONOTONIC || time->tv_sec < atol(getenv("FAIL_AT")) || strcmp(own, getenv("FAIL_IN")) != 0)
        return ret;
    errno = EIO;
    return -1;
}
"#;

/// The kernel still holds the ban of an ended daemon, and a new daemon knows it.
fn ban_stays(lab: &Lab) {
    let held = open(BackendKind::Nftables, &Options::default())
        .unwrap()
        .list()
        .unwrap();
    assert_eq!(held.len(), 1);
    assert_eq!(held[0].element.to_string(), BY_HAND);
    let daemon = lab.start(&[]);
    daemon.wait_line("1 bans of an earlier run are in force");
    assert_eq!(lab.bans()[0]["address"], BY_HAND);
    daemon.terminate();
}

fn end_of(daemon: &mut Daemon) -> ExitStatus {
    let mut status = None;
    wait_for("it ends", || {
        status = daemon.ended();
        status.is_some()
    });
    status.unwrap()
}

/// Exit statuses as `waitpid(2)` tells them.
const ERROR: i32 = 1 << 8;
const PANIC: i32 = 101 << 8;

/// A panic of this thread ends the program, started with these options, in one of these ways and with these lines.
fn check(
    thread: &'static str,
    options: &'static [&'static str],
    ends: &'static [i32],
    lines: &'static [&'static str],
) {
    in_namespace(move || {
        let mut lab = Lab::new("nftables");
        lab.preload(FAILING_CLOCK);
        let fail_at = monotonic().as_secs() + 4;
        lab.variables
            .extend([("FAIL_AT", fail_at.to_string()), ("FAIL_IN", thread.to_owned())]);
        let mut daemon = lab.start(options);
        // Only the daemon is to fail.
        lab.variables.clear();
        lab.say(&["ban", BY_HAND]);
        assert!(daemon.is_running(), "it fails too early");
        // A worker does nothing without frames.
        let mut wire = wire();
        let mut flows = 0..;
        let mut status = None;
        wait_for("it ends", || {
            wire.sendpacket(stranger(flows.next().unwrap())).unwrap();
            status = daemon.ended();
            status.is_some()
        });
        let status = status.unwrap();
        assert!(ends.contains(&status.into_raw()), "{status}");
        for line in lines {
            daemon.wait_line(line);
        }
        ban_stays(&lab);
    });
}

#[test]
fn a_panic_of_the_judge_ends_the_daemon() {
    // Where the clock fails inside of a channel, the channel's destructor panics, too, which aborts.
    check("main", &[], &[PANIC, libc::SIGABRT], &["thread 'main'"]);
}

#[test]
fn a_panic_of_a_capture_thread_ends_the_daemon() {
    check(
        "capture-bt0",
        &[],
        &[ERROR],
        &["thread 'capture-bt0'", "bt0: the capture thread has ended"],
    );
}

#[test]
fn a_panic_of_a_worker_ends_the_daemon() {
    check(
        "inspect-0",
        &["--workers", "1"],
        &[ERROR],
        &["thread 'inspect-0'", "worker 0 panicked: "],
    );
}

/// The far end of the watched device.
fn wire() -> pcap::Capture<pcap::Active> {
    pcap::Capture::from_device("bt1").unwrap().open().unwrap()
}

/// A frame of a UDP flow of its own.
fn stranger(number: u32) -> Vec<u8> {
    let mut frame = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 8, 0];
    frame.extend([0x45, 0, 0, 60, 0, 0, 0, 0, 64, 17, 0, 0]);
    frame.extend((0x0800_0000 + number).to_be_bytes());
    frame.extend([10, 77, 1, 11, 0x1a, 0xe1, 0x1a, 0xe2, 0, 40, 0, 0]);
    frame.extend(number.wrapping_mul(2_654_435_761).to_be_bytes().repeat(8));
    frame
}

/// Sends flows until the daemon has ended; their number.
fn flood_until_it_ends(daemon: &mut Daemon) -> u32 {
    let mut wire = wire();
    let deadline = Instant::now() + Duration::from_secs(120);
    let mut flows = 0;
    while daemon.is_running() {
        assert!(Instant::now() < deadline, "{flows} flows take no memory");
        for _ in 0..1_000 {
            wire.sendpacket(stranger(flows)).unwrap();
            flows += 1;
        }
    }
    flows
}

#[test]
fn without_memory_the_daemon_ends_and_bans_stay() {
    in_namespace(|| {
        let lab = Lab::new("nftables");
        let daemon = lab.start(&[]);
        let kib: u64 = daemon.fields("VmData")[0]
            .trim_end_matches(" kB")
            .parse()
            .unwrap();
        daemon.terminate();
        // What it takes at the start, and a little.
        let limit = format!("--data={}", (kib + 4 * 1_024) * 1_024);
        let mut daemon = lab.start_under(&["prlimit", &limit], &[]);
        lab.say(&["ban", BY_HAND]);
        let flows = flood_until_it_ends(&mut daemon);
        let status = end_of(&mut daemon);
        println!("{flows} flows, {limit}: {status}");
        assert_eq!(status.signal(), Some(libc::SIGABRT), "{status}");
        daemon.wait_line("memory allocation of ");
        ban_stays(&lab);
        assert!(fs::exists(lab.state_file()).unwrap());
    });
}

/// A memory control group of its own (`cgroups(7)`, version 1 or 2), which is what `MemoryMax` of a unit is.
struct Group {
    folder: PathBuf,
    limit: &'static str,
    usage: &'static str,
}

impl Group {
    /// What the kernel says against it where none can be made. Of version 2, the machine must have handed memory down.
    fn new() -> io::Result<Self> {
        let own = format!("btblocker-test-{}", process::id());
        let (root, limit, usage) = match fs::exists("/sys/fs/cgroup/memory")? {
            true => (
                "/sys/fs/cgroup/memory",
                "memory.limit_in_bytes",
                "memory.usage_in_bytes",
            ),
            false => ("/sys/fs/cgroup", "memory.max", "memory.current"),
        };
        let folder = Path::new(root).join(own);
        fs::create_dir(&folder)?;
        let group = Self { folder, limit, usage };
        fs::metadata(group.folder.join(limit))?;
        Ok(group)
    }

    fn usage(&self) -> u64 {
        let text = fs::read_to_string(self.folder.join(self.usage)).unwrap();
        text.trim().parse().unwrap()
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // Processes that were killed a moment ago still count.
        wait_for("the group is empty", || fs::remove_dir(&self.folder).is_ok());
    }
}

#[test]
fn above_its_memory_limit_the_daemon_is_killed_and_bans_stay() {
    let group = match Group::new() {
        Ok(group) => group,
        Err(error) => {
            println!("skipped: no memory control group can be made here: {error}");
            return;
        }
    };
    in_namespace(move || {
        let lab = Lab::new("nftables");
        let join = format!("echo $$ >{}/cgroup.procs && exec \"$@\"", group.folder.display());
        let mut daemon = lab.start_under(&["sh", "-c", &join, "sh"], &[]);
        lab.say(&["ban", BY_HAND]);
        let limit = group.usage() + 4 * 1_024 * 1_024;
        fs::write(group.folder.join(group.limit), limit.to_string()).unwrap();
        let flows = flood_until_it_ends(&mut daemon);
        let status = end_of(&mut daemon);
        println!("{flows} flows, limit of {limit} bytes: {status}");
        assert_eq!(status.signal(), Some(libc::SIGKILL), "{status}");
        ban_stays(&lab);
        assert!(fs::exists(lab.state_file()).unwrap());
    });
}
