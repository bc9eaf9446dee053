//! Asks a running daemon.

use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;

use super::Request;

/// How long the daemon may take for one line.
const PATIENCE: Duration = Duration::from_secs(15);

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AskError {
    /// Nobody listens on the socket.
    #[error("no btblocker answers on {0}")]
    NoDaemon(PathBuf),
    /// The daemon refuses.
    #[error("{0}")]
    Refused(String),
    /// The socket fails.
    #[error("cannot speak to btblocker on {path}")]
    Io {
        /// The socket.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// Sends one request; the lines of the answer without the last, and the message of the last, if it bears one.
///
/// # Errors
/// When nobody listens, or the daemon refuses.
pub fn ask(path: &Path, request: &Request) -> Result<(Vec<Value>, Option<String>), AskError> {
    let failed = |source| AskError::Io {
        path: path.to_owned(),
        source,
    };
    let mut stream = UnixStream::connect(path).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => AskError::NoDaemon(path.to_owned()),
        _ => failed(error),
    })?;
    let mut exchange = || -> io::Result<_> {
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.write_all(format!("{}\n", serde_json::to_string(request)?).as_bytes())?;
        let mut lines = Vec::new();
        for line in BufReader::new(&stream).lines() {
            let value: Value = serde_json::from_str(&line?)?;
            if value.get("ok").is_some() {
                return Ok((lines, value));
            }
            lines.push(value);
        }
        Err(io::ErrorKind::UnexpectedEof.into())
    };
    let (lines, last) = exchange().map_err(failed)?;
    let text = |key| last.get(key).and_then(Value::as_str).map(str::to_owned);
    match last.get("ok") {
        Some(Value::Bool(true)) => Ok((lines, text("message"))),
        _ => Err(AskError::Refused(
            text("error").unwrap_or_else(|| last.to_string()),
        )),
    }
}
