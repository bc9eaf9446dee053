//! Listens, and carries requests to the daemon and answers back.

use std::fs::{self, DirBuilder, Permissions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use super::{Reply, Requests};

/// Longest request in bytes; the longest sensible one has about 100.
const MAX_LINE: usize = 4_096;
/// Clients at the same time; each has a thread.
const MAX_CLIENTS: usize = 16;
/// How long a client may take to say one line, and how long it may say nothing.
const LINE_WITHIN: Duration = Duration::from_secs(5);
/// How long a client may take to read one answer.
const READ_WITHIN: Duration = Duration::from_secs(30);
/// How long the daemon may take for an answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);
/// How long no connection is taken after taking one failed, as it does when descriptors run out.
const PAUSE: Duration = Duration::from_millis(200);

/// Why the socket cannot be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ControlError {
    /// Another daemon listens on it.
    #[error(
        "another btblocker is running: it answers on {0}; stop it, or give one that only watches (monitor_only) another control_socket"
    )]
    Alive(PathBuf),
    /// Something else is in its place.
    #[error("{0} exists and is no socket; remove it or choose another control_socket")]
    InTheWay(PathBuf),
    /// The system refuses.
    #[error("cannot {action} {path}")]
    Io {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
}

/// The listening socket; it is removed when this is dropped.
#[derive(Debug)]
pub struct Server {
    path: PathBuf,
    /// Device and inode, to know it from a successor's.
    identity: Option<(u64, u64)>,
}

impl Server {
    /// Listens on a path and hands on what is asked. The socket of a daemon that is gone is replaced; it appears
    /// with its rights, never without.
    ///
    /// # Errors
    /// [`ControlError::Alive`] when somebody answers there.
    pub fn listen(path: &Path, requests: Requests) -> Result<Self, ControlError> {
        let failed = |action, source| ControlError::Io {
            action,
            path: path.to_owned(),
            source,
        };
        match fs::symlink_metadata(path) {
            Ok(found) if !found.file_type().is_socket() => {
                return Err(ControlError::InTheWay(path.to_owned()));
            }
            Ok(_) if UnixStream::connect(path).is_ok() => {
                return Err(ControlError::Alive(path.to_owned()));
            }
            _ => {}
        }
        let folder = path.parent().unwrap_or(Path::new("/"));
        fs::create_dir_all(folder).map_err(|source| failed("make the folder of", source))?;
        // Nobody reaches a socket in a folder of ours before it has its rights.
        let private = folder.join(format!(".{}", std::process::id()));
        let listener = DirBuilder::new()
            .mode(0o700)
            .create(&private)
            .and_then(|()| {
                let inside = private.join("s");
                let listener = UnixListener::bind(&inside)?;
                fs::set_permissions(&inside, Permissions::from_mode(0o600))?;
                fs::rename(&inside, path)?;
                Ok(listener)
            })
            .map_err(|source| failed("listen on", source));
        let _ = fs::remove_file(private.join("s"));
        let _ = fs::remove_dir(&private);
        let listener = listener?;
        std::thread::Builder::new()
            .name("control".to_owned())
            .spawn(move || accept(&listener, &requests))
            .map_err(|source| failed("start a thread for", source))?;
        Ok(Self {
            path: path.to_owned(),
            identity: identity(path),
        })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if self.identity.is_some() && identity(&self.path) == self.identity {
            let _ = fs::remove_file(&self.path);
        }
    }
}

fn identity(path: &Path) -> Option<(u64, u64)> {
    fs::symlink_metadata(path)
        .ok()
        .map(|found| (found.dev(), found.ino()))
}

fn accept(listener: &UnixListener, daemon: &Requests) {
    let clients = Arc::new(AtomicUsize::new(0));
    for stream in listener.incoming() {
        let Ok(mut stream) = stream else {
            std::thread::sleep(PAUSE);
            continue;
        };
        let place = Place::take(&clients);
        if place.is_none() {
            let refusal = Reply::Refused(format!("{MAX_CLIENTS} clients are connected already"));
            let _ = stream.set_nonblocking(true);
            let _ = stream.write(refusal.lines().as_bytes());
            continue;
        }
        let daemon = daemon.clone();
        let started = std::thread::Builder::new()
            .name("control-client".to_owned())
            .spawn(move || {
                let _place = place;
                if let Err(error) = serve(&stream, &daemon) {
                    log::debug!("control socket: a client was left: {error}");
                }
            });
        if let Err(error) = started {
            log::debug!("control socket: no thread for a client: {error}");
        }
    }
}

/// One of the places for clients.
struct Place(Arc<AtomicUsize>);

impl Place {
    fn take(clients: &Arc<AtomicUsize>) -> Option<Self> {
        let taken = clients.fetch_add(1, Ordering::Relaxed);
        let place = Self(Arc::clone(clients));
        (taken < MAX_CLIENTS).then_some(place)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Serves one client until it leaves or is too slow.
fn serve(stream: &UnixStream, daemon: &Requests) -> io::Result<()> {
    let mut buffer = Vec::new();
    loop {
        let Some(line) = read_line(stream, &mut buffer)? else {
            return Ok(());
        };
        let (reply, goes_on) = match line {
            Ok(line) => (answer(&line, daemon), true),
            Err(TooLong) => (
                Reply::Refused(format!("a line of more than {MAX_LINE} bytes")),
                false,
            ),
        };
        write_within(stream, reply.lines().as_bytes())?;
        if !goes_on {
            return Ok(());
        }
    }
}

struct TooLong;

/// The next line without its end; `None` when the client has left. What follows it stays in `buffer`.
fn read_line(mut stream: &UnixStream, buffer: &mut Vec<u8>) -> io::Result<Option<Result<Vec<u8>, TooLong>>> {
    let deadline = Instant::now() + LINE_WITHIN;
    loop {
        if let Some(end) = buffer.iter().position(|byte| *byte == b'\n') {
            let rest = buffer.split_off(end + 1);
            let mut line = std::mem::replace(buffer, rest);
            line.pop();
            return Ok(Some(Ok(line)));
        }
        if buffer.len() > MAX_LINE {
            return Ok(Some(Err(TooLong)));
        }
        stream.set_read_timeout(Some(left_until(deadline)?))?;
        let mut chunk = [0; 1_024];
        match stream.read(&mut chunk)? {
            0 => return Ok(None),
            len => buffer.extend(chunk.iter().take(len)),
        }
    }
}

fn answer(line: &[u8], daemon: &Requests) -> Reply {
    match serde_json::from_slice(line) {
        Ok(request) => daemon.ask(request, ANSWER_WITHIN),
        Err(error) => Reply::Refused(format!("no request: {error}")),
    }
}

fn write_within(mut stream: &UnixStream, mut bytes: &[u8]) -> io::Result<()> {
    let deadline = Instant::now() + READ_WITHIN;
    while !bytes.is_empty() {
        stream.set_write_timeout(Some(left_until(deadline)?))?;
        let written = stream.write(bytes)?;
        if written == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        bytes = bytes.get(written..).unwrap_or_default();
    }
    Ok(())
}

fn left_until(deadline: Instant) -> io::Result<Duration> {
    let left = deadline.saturating_duration_since(Instant::now());
    if left.is_zero() {
        return Err(io::ErrorKind::TimedOut.into());
    }
    Ok(left)
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader};

    use super::*;
    use crate::control::{AskError, Asked, Request, ask};

    /// A server whose daemon says which request it got.
    fn server(folder: &Path) -> (PathBuf, Server) {
        let path = folder.join("run/control.sock");
        let (requests, asked) = Requests::queue();
        let server = Server::listen(&path, requests).unwrap();
        std::thread::spawn(move || {
            for Asked { request, reply } in asked {
                let _ = reply.try_send(match request {
                    Request::Status {} => Reply::Refused("no".to_owned()),
                    request => Reply::Done(format!("{request:?}")),
                });
            }
        });
        (path, server)
    }

    fn say(path: &Path, bytes: &[u8]) -> String {
        let mut stream = UnixStream::connect(path).unwrap();
        stream.write_all(bytes).unwrap();
        let mut line = String::new();
        BufReader::new(stream).read_line(&mut line).unwrap();
        line
    }

    #[test]
    fn requests_reach_the_daemon_and_answers_the_client() {
        let folder = tempfile::tempdir().unwrap();
        let (path, server) = server(folder.path());
        let mode = fs::metadata(&path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode, 0o600);
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1);
        let (lines, message) = ask(&path, &Request::Bans {}).unwrap();
        assert_eq!((lines.len(), message.as_deref()), (0, Some("Bans")));
        assert!(matches!(ask(&path, &Request::Status {}), Err(AskError::Refused(why)) if why == "no"));
        drop(server);
        assert!(!path.exists());
        assert!(matches!(
            ask(&path, &Request::Bans {}),
            Err(AskError::NoDaemon(_))
        ));
    }

    #[test]
    fn a_second_server_is_refused_and_a_stale_socket_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let (path, server) = server(folder.path());
        let listen = || Server::listen(&path, Requests::queue().0);
        let error = listen().unwrap_err();
        assert!(matches!(error, ControlError::Alive(_)), "{error}");
        assert!(error.to_string().contains("another btblocker is running"));
        drop(server);
        drop(UnixListener::bind(&path).unwrap());
        assert!(path.exists(), "a socket that nobody listens on");
        drop(listen().unwrap());
        fs::write(&path, "a file").unwrap();
        assert!(matches!(listen(), Err(ControlError::InTheWay(_))));
        assert_eq!(fs::read(&path).unwrap(), b"a file");
    }

    #[test]
    fn wrong_and_endless_lines_are_answered() {
        let folder = tempfile::tempdir().unwrap();
        let (path, _server) = server(folder.path());
        for (bytes, answer) in [
            (&b"\n"[..], "no request"),
            (b"{\"command\":\"reboot\"}\n", "unknown variant"),
            (b"\xff\xfe\n", "no request"),
            (&[b'a'; 8_192], "more than 4096 bytes"),
        ] {
            let said = say(&path, bytes);
            assert!(said.contains("\"ok\":false") && said.contains(answer), "{said}");
        }
        let two = b"{\"command\":\"bans\"}\n{\"command\":\"unban-all\"}\n";
        let mut stream = UnixStream::connect(&path).unwrap();
        stream.write_all(two).unwrap();
        let lines: Vec<String> = BufReader::new(stream)
            .lines()
            .take(2)
            .map(Result::unwrap)
            .collect();
        assert!(lines[1].contains("UnbanAll"), "{lines:?}");
    }

    #[test]
    fn silent_clients_take_no_more_than_their_places() {
        let folder = tempfile::tempdir().unwrap();
        let (path, _server) = server(folder.path());
        let silent: Vec<UnixStream> = (0..MAX_CLIENTS)
            .map(|_| UnixStream::connect(&path).unwrap())
            .collect();
        let mut line = String::new();
        BufReader::new(UnixStream::connect(&path).unwrap())
            .read_line(&mut line)
            .unwrap();
        assert!(line.contains("16 clients are connected already"), "{line}");
        drop(silent);
        let deadline = Instant::now() + Duration::from_secs(10);
        while ask(&path, &Request::Bans {}).is_err() {
            assert!(Instant::now() < deadline, "places are given back");
            std::thread::yield_now();
        }
    }
}
