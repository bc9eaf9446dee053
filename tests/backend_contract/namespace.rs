//! Network namespaces, each entered by one thread and gone with it.

use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

type Job = Box<dyn FnOnce() + Send>;

/// A fresh network namespace with `lo` up.
pub(crate) struct Namespace {
    jobs: mpsc::Sender<Job>,
    /// Kernel id of the thread that lives in it; `ip link set … netns` takes it.
    pub(crate) thread_id: i32,
}

/// Fails with an explanation where namespaces cannot be made.
pub(crate) fn require_root() {
    // SAFETY: has no preconditions.
    let euid = unsafe { libc::geteuid() };
    assert_eq!(
        euid, 0,
        "the backend contract makes network namespaces: run it as root (sudo cargo test)"
    );
}

impl Namespace {
    pub(crate) fn new() -> Self {
        let (jobs, inbox) = mpsc::channel::<Job>();
        let (ready, started) = mpsc::channel();
        thread::spawn(move || {
            // SAFETY: changes only this thread's network namespace.
            let code = unsafe { libc::unshare(libc::CLONE_NEWNET) };
            assert_eq!(code, 0, "unshare: {}", std::io::Error::last_os_error());
            sh("ip link set lo up");
            // SAFETY: has no preconditions.
            ready.send(unsafe { libc::gettid() }).unwrap();
            inbox.into_iter().for_each(|job| job());
        });
        let thread_id = started.recv().expect("the namespace's thread starts");
        Self { jobs, thread_id }
    }

    /// Runs `job` inside and waits for it. A panic inside is one outside.
    pub(crate) fn run<T: Send + 'static>(&self, job: impl FnOnce() -> T + Send + 'static) -> T {
        let (sender, result) = mpsc::channel();
        self.jobs
            .send(Box::new(move || sender.send(job()).unwrap()))
            .expect("the namespace is alive");
        result
            .recv()
            .expect("the job inside the namespace panicked, see above")
    }

    /// Runs a shell command inside.
    pub(crate) fn sh(&self, command: &str) -> String {
        let command = command.to_owned();
        self.run(move || sh(&command))
    }
}

/// Runs a shell command in the calling thread's namespace; it must succeed.
pub(crate) fn sh(command: &str) -> String {
    let (success, output) = try_sh(command);
    assert!(success, "{command}\n{output}");
    output
}

/// Runs a shell command; gives whether it succeeded, and what it wrote.
pub(crate) fn try_sh(command: &str) -> (bool, String) {
    let output = Command::new("sh")
        .args(["-c", command])
        .stdin(Stdio::null())
        .output()
        .expect("a shell starts");
    let text = [output.stdout, output.stderr].concat();
    (
        output.status.success(),
        String::from_utf8_lossy(&text).into_owned(),
    )
}

/// Polls until `condition` holds, for at most `limit`.
pub(crate) fn eventually(limit: Duration, mut condition: impl FnMut() -> bool) -> bool {
    let deadline = Instant::now() + limit;
    while Instant::now() < deadline {
        if condition() {
            return true;
        }
        thread::sleep(Duration::from_millis(20));
    }
    condition()
}
