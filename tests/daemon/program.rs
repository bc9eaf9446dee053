//! One program under test with its folder.

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::namespace::veth;

/// How long anything may take that is not measured.
const PATIENTLY: Duration = Duration::from_secs(20);

/// Folder, backend and options of the programs of one test.
pub(crate) struct Lab {
    folder: tempfile::TempDir,
    pub(crate) backend: &'static str,
    /// Further variables of the programs.
    pub(crate) variables: Vec<(&'static str, String)>,
}

/// A running daemon; it is killed when dropped.
pub(crate) struct Daemon {
    child: Child,
    log: Arc<Mutex<Vec<String>>>,
}

impl Lab {
    /// In the calling thread's namespace, with a pair of devices `bt0` (watched) and `bt1`.
    pub(crate) fn new(backend: &'static str) -> Self {
        veth("bt0", "bt1");
        Self {
            folder: tempfile::tempdir().unwrap(),
            backend,
            variables: Vec::new(),
        }
    }

    /// As `new`, with this mode of the folder.
    pub(crate) fn with_mode(backend: &'static str, mode: u32) -> Self {
        let lab = Self::new(backend);
        fs::set_permissions(lab.folder.path(), fs::Permissions::from_mode(mode)).unwrap();
        lab
    }

    /// Compiles C into the lab's folder, and has every program of the lab load it before all else.
    pub(crate) fn preload(&mut self, code: &str) {
        let (source, object) = (self.path("preload.c"), self.path("preload.so"));
        fs::write(&source, code).unwrap();
        let compiler = Command::new("cc")
            .args(["-shared", "-fPIC", "-o"])
            .arg(&object)
            .arg(&source)
            .status();
        assert!(compiler.unwrap().success());
        self.variables.push(("LD_PRELOAD", object.display().to_string()));
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn state_file(&self) -> PathBuf {
        self.path("state/torrent_block.json")
    }

    /// The program with this lab's folder, and `more` arguments in front, which win.
    pub(crate) fn command(&self, words: &[&str]) -> Command {
        self.command_under(&[], words)
    }

    /// The same, started by another program with its arguments.
    pub(crate) fn command_under(&self, launcher: &[&str], words: &[&str]) -> Command {
        let mut all = launcher.iter().chain([&env!("CARGO_BIN_EXE_btblocker")]);
        let mut command = Command::new(all.next().unwrap());
        command
            .args(all)
            .env_clear()
            .env("BTBLOCKER_STATE_DIR", self.path("state"))
            .env("BTBLOCKER_CONTROL_SOCKET", self.path("run/control.sock"))
            .env("BTBLOCKER_INTERFACE", "bt0")
            .env("BTBLOCKER_BACKEND", self.backend)
            .envs(self.variables.iter().map(|(name, value)| (name, value)))
            .args(words)
            .stdin(Stdio::null());
        command
    }

    /// Runs a command to its end.
    pub(crate) fn run(&self, words: &[&str]) -> Output {
        self.command(words).output().unwrap()
    }

    /// Runs a command that must succeed; what it printed.
    pub(crate) fn say(&self, words: &[&str]) -> String {
        let output = self.run(words);
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{words:?}: {error}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// The bans as the program lists them, by address.
    pub(crate) fn bans(&self) -> Vec<Value> {
        let text = self.say(&["bans", "--format", "json"]);
        text.lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }

    /// Starts a daemon without waiting for anything.
    pub(crate) fn launch(&self) -> Child {
        self.command(&[]).stderr(Stdio::null()).spawn().unwrap()
    }

    /// Starts a daemon and waits until it is ready.
    pub(crate) fn start(&self, words: &[&str]) -> Daemon {
        self.start_under(&[], words)
    }

    /// The same, started by another program with its arguments.
    pub(crate) fn start_under(&self, launcher: &[&str], words: &[&str]) -> Daemon {
        let mut command = self.command_under(launcher, words);
        let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
        let log = Arc::new(Mutex::new(Vec::new()));
        let (lines, stderr) = (Arc::clone(&log), child.stderr.take().unwrap());
        thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                lines.lock().unwrap().push(line);
            }
        });
        let daemon = Daemon { child, log };
        daemon.wait_line("ready:");
        daemon.wait_line("capturing on");
        daemon
    }

    /// Sends the packets of a recorded case into `bt1`, so that they arrive at `bt0`. Their number.
    pub(crate) fn replay(&self, case: &str) -> u64 {
        replay(case, "bt1")
    }
}

/// Sends the packets of a recorded case into a device of the calling thread's namespace; their number.
pub(crate) fn replay(case: &str, device: &str) -> u64 {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/cases")
        .join(case)
        .join("input.pcap");
    let mut file = pcap::Capture::from_file(path).unwrap();
    let mut wire = pcap::Capture::from_device(device).unwrap().open().unwrap();
    let mut sent = 0;
    while let Ok(packet) = file.next_packet() {
        wire.sendpacket(packet.data).unwrap();
        sent += 1;
    }
    sent
}

impl Daemon {
    /// Waits for a line of the log that contains `part`.
    pub(crate) fn wait_line(&self, part: &str) -> String {
        let found = || {
            let log = self.log.lock().unwrap();
            log.iter().find(|line| line.contains(part)).cloned()
        };
        eventually(PATIENTLY, || found().is_some());
        found().unwrap_or_else(|| panic!("no line {part:?} in {:#?}", self.log.lock().unwrap()))
    }

    /// Lines of the log that contain `part`.
    pub(crate) fn lines(&self, part: &str) -> usize {
        let log = self.log.lock().unwrap();
        log.iter().filter(|line| line.contains(part)).count()
    }

    /// A field of `proc_pid_status(5)`, once for each thread.
    pub(crate) fn fields(&self, name: &str) -> Vec<String> {
        let threads = fs::read_dir(format!("/proc/{}/task", self.child.id())).unwrap();
        let field = |thread: fs::DirEntry| {
            let status = fs::read_to_string(thread.path().join("status")).unwrap();
            let line = status
                .lines()
                .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
            line.unwrap().split_whitespace().collect::<Vec<_>>().join(" ")
        };
        threads.map(|thread| field(thread.unwrap())).collect()
    }

    /// How long the judge's thread ran or wanted to run so far (`/proc/PID/task/TID/schedstat`).
    pub(crate) fn busy(&self) -> Duration {
        let pid = self.child.id();
        let text = fs::read_to_string(format!("/proc/{pid}/task/{pid}/schedstat")).unwrap();
        let nanos = text
            .split_whitespace()
            .take(2)
            .map(|nanos| nanos.parse::<u64>().unwrap());
        Duration::from_nanos(nanos.sum())
    }

    /// As by `kill -HUP`.
    pub(crate) fn hang_up(&self) {
        // SAFETY: takes no pointer; the child has not been waited for, so its number is its own.
        let code = unsafe { libc::kill(self.child.id().cast_signed(), libc::SIGHUP) };
        assert_eq!(code, 0);
    }

    /// How it ended, if it did.
    pub(crate) fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().unwrap()
    }

    pub(crate) fn is_running(&mut self) -> bool {
        self.ended().is_none()
    }

    /// As by `kill -9`.
    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// As by `kill`: ends it in order.
    pub(crate) fn terminate(mut self) {
        // SAFETY: takes no pointer; the child has not been waited for, so its number is its own.
        let code = unsafe { libc::kill(self.child.id().cast_signed(), libc::SIGTERM) };
        assert_eq!(code, 0);
        assert!(self.child.wait().unwrap().success());
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Polls until `condition` holds, for at most `limit`; the time it took, if it came to hold.
pub(crate) fn eventually(limit: Duration, mut condition: impl FnMut() -> bool) -> Option<Duration> {
    let start = Instant::now();
    loop {
        if condition() {
            return Some(start.elapsed());
        }
        if start.elapsed() > limit {
            return None;
        }
        thread::sleep(Duration::from_millis(20));
    }
}

/// Waits until `condition` holds.
pub(crate) fn wait_for(what: &str, condition: impl FnMut() -> bool) {
    assert!(eventually(PATIENTLY, condition).is_some(), "{what}");
}

/// From now on mounts are for this thread and its children only.
pub(crate) fn own_mounts() {
    // SAFETY: unshare takes no pointer; only this thread changes its namespace.
    assert_eq!(unsafe { libc::unshare(libc::CLONE_NEWNS) }, 0);
    mount("--make-rprivate /");
}

/// Runs `mount`.
pub(crate) fn mount(arguments: &str) {
    let status = Command::new("mount").args(arguments.split(' ')).status().unwrap();
    assert!(status.success(), "mount {arguments}");
}

/// Runs a shell command in the calling thread's namespace; it must succeed.
pub(crate) fn sh(command: &str) -> String {
    let output = Command::new("sh").args(["-c", command]).output().unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command}: {error}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// A folder for pins, which does not exist yet, in a bpf filesystem that only the calling thread and its children see.
#[cfg(feature = "xdp")]
pub(crate) fn bpf_filesystem() -> &'static str {
    own_mounts();
    mount("-t tmpfs none /run");
    fs::create_dir("/run/bpf").unwrap();
    mount("-t bpf none /run/bpf");
    "/run/bpf/btblocker"
}
