//! The web page: what was seen and banned, for everybody who reaches the listener, and lifting bans for those who
//! know the token.
//!
//! A foreign page in the operator's browser can do nothing here. Requests under a foreign name are refused, because a
//! name can be made to point here (DNS rebinding); requests that another page makes are refused by their origin; and
//! what changes something needs a header that no foreign page may send unasked.

use std::net::{IpAddr, SocketAddr};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Context;
use log::{info, warn};
use serde_json::json;
use sha2::{Digest, Sha256};

use crate::ban::Element;
use crate::config::Config;
use crate::control::{Reply, Request, Requests};
use crate::overview::{CONTENT_SECURITY_POLICY, live_page};
use crate::sink::{HttpRequest, Method, Page, Status};

/// How long the judge may take; a connection lives for five seconds.
const PATIENCE: Duration = Duration::from_millis(1_500);
/// How long an overview is good for everybody: however many ask, the judge is asked once in this time.
const FRESH: Duration = Duration::from_secs(1);
/// Length of a token in bytes: 16 random hexadecimal digits are 64 bits, too many to guess over a network.
const TOKEN_LENGTH: std::ops::RangeInclusive<usize> = 16..=256;

/// What the web page is made of.
pub(super) struct Web {
    requests: Requests,
    token: Option<Token>,
    latest: Mutex<Option<(Instant, Page)>>,
}

impl Web {
    /// A page whose bans are lifted by those who know the token, if there is one.
    pub(super) const fn new(requests: Requests, token: Option<Token>) -> Self {
        Self {
            requests,
            token,
            latest: Mutex::new(None),
        }
    }

    /// The answer to a request, if the page has one.
    pub(super) fn page(&self, request: &HttpRequest<'_>) -> Option<Page> {
        let page: fn(&Self, &HttpRequest<'_>) -> Page = match (request.method, request.path) {
            (Method::Get, "/") => |_, _| shell(),
            (Method::Get, "/overview.json") => |web, _| web.overview(),
            (Method::Post, "/unban") => Self::unban,
            (_, "/" | "/overview.json") => {
                |_, _| Page::text(Status::MethodNotAllowed, "this can only be read")
            }
            _ => return None,
        };
        Some(match foreign(request) {
            Some(why) => Page::text(Status::Forbidden, why),
            None => page(self, request),
        })
    }

    fn overview(&self) -> Page {
        let mut latest = self.latest.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((made, page)) = &*latest
            && made.elapsed() < FRESH
        {
            return page.clone();
        }
        let page = match self.requests.ask(Request::Overview {}, PATIENCE) {
            Reply::Overview(overview) => {
                let shown = json!({ "live": true, "unban": self.token.is_some(), "captures": [overview] });
                Page::new(Status::Ok, "application/json", shown.to_string())
            }
            _ => Page::text(Status::Unavailable, "the daemon is too busy to answer"),
        };
        *latest = Some((Instant::now(), page.clone()));
        page
    }

    fn unban(&self, request: &HttpRequest<'_>) -> Page {
        let Some(token) = &self.token else {
            return Page::text(
                Status::Forbidden,
                "bans cannot be lifted here: there is no web_token_file",
            );
        };
        let from = request.from;
        let given = request
            .authorization
            .and_then(|line| line.strip_prefix("Bearer "));
        if !given.is_some_and(|given| token.is(given)) {
            if given.is_some() {
                warn!(trouble = "web_token"; "{from} gave a wrong token to the web page");
            }
            return Page::text(Status::Unauthorized, "the token is missing or wrong");
        }
        let address = request.query.strip_prefix("address=").map(decoded);
        let element = match address.as_deref().unwrap_or_default().parse::<Element>() {
            Ok(element) => element,
            Err(why) => return Page::text(Status::BadRequest, &why),
        };
        info!("{from} asks on the web page to lift the ban of {element}");
        match self.requests.ask(Request::Unban { address: element }, PATIENCE) {
            Reply::Done(said) => {
                // What is shown next must not be of before.
                *self.latest.lock().unwrap_or_else(PoisonError::into_inner) = None;
                Page::text(Status::Ok, &said)
            }
            Reply::Refused(why) => Page::text(Status::Unavailable, &why),
            _ => Page::text(Status::Unavailable, "the daemon gave no answer"),
        }
    }
}

/// The page without its data.
fn shell() -> Page {
    let mut page = Page::new(Status::Ok, "text/html; charset=utf-8", live_page());
    page.headers = vec![
        ("Content-Security-Policy", CONTENT_SECURITY_POLICY.as_str()),
        ("Referrer-Policy", "no-referrer"),
        ("Cross-Origin-Opener-Policy", "same-origin"),
        ("Cross-Origin-Resource-Policy", "same-origin"),
    ];
    page
}

/// Why a request is not to be trusted, if it is not.
fn foreign(request: &HttpRequest<'_>) -> Option<&'static str> {
    let Some(host) = request.host.filter(|host| is_own_name(host)) else {
        return Some("ask for this page by its address, such as http://192.0.2.1:9475/, or as localhost");
    };
    let from_here = |origin: &str| {
        let name = origin.split_once("://").map(|(_, name)| name);
        name.is_some_and(|name| name.eq_ignore_ascii_case(host))
    };
    match request.origin {
        Some(origin) if !from_here(origin) => Some("another page asks; only this server's own page may"),
        _ => None,
    }
}

/// Whether a `Host` is an address or `localhost`, which nobody else can make point here.
fn is_own_name(host: &str) -> bool {
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    };
    let address = name.strip_prefix('[').and_then(|name| name.strip_suffix(']'));
    name.eq_ignore_ascii_case("localhost")
        || host.parse::<SocketAddr>().is_ok()
        || address.unwrap_or(name).parse::<IpAddr>().is_ok()
}

/// Text with its `%xx` decoded; what is no such thing stays.
fn decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, behind)) = rest.split_first() {
        let code = behind.get(..2).filter(|_| first == b'%');
        let code = code.and_then(|code| u8::from_str_radix(std::str::from_utf8(code).ok()?, 16).ok());
        bytes.push(code.unwrap_or(first));
        rest = if code.is_some() {
            behind.get(2..).unwrap_or_default()
        } else {
            behind
        };
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// The digest of the token.
pub(super) struct Token([u8; 32]);

impl Token {
    /// Reads the configured token, if there is one.
    pub(super) fn configured(config: &Config) -> anyhow::Result<Option<Self>> {
        let path = Some(config.web_token_file.as_path()).filter(|path| !path.as_os_str().is_empty());
        path.map(|path| Self::read(path).context("web_token_file"))
            .transpose()
    }

    fn read(path: &Path) -> anyhow::Result<Self> {
        let shown = path.display();
        let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {shown}"))?;
        let mode = std::fs::metadata(path)
            .map(|about| about.mode())
            .unwrap_or_default();
        anyhow::ensure!(
            mode & 0o004 == 0,
            "{shown} can be read by everybody; `chmod o-r {shown}`"
        );
        let token = text.trim_end_matches(['\r', '\n']);
        anyhow::ensure!(
            TOKEN_LENGTH.contains(&token.len()) && token.bytes().all(|byte| byte.is_ascii_graphic()),
            "{shown} holds {} bytes; one line of {} to {} printable ASCII characters without spaces is needed, such as \
             from `openssl rand -hex 16`",
            token.len(),
            TOKEN_LENGTH.start(),
            TOKEN_LENGTH.end()
        );
        Ok(Self(Sha256::digest(token).into()))
    }

    /// Takes the same time for every text of one length: digests are compared as a whole.
    fn is(&self, given: &str) -> bool {
        let given: [u8; 32] = Sha256::digest(given).into();
        let differing = self
            .0
            .iter()
            .zip(given)
            .fold(0, |differing, (a, b)| differing | (a ^ b));
        std::hint::black_box(differing) == 0
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn only_addresses_and_localhost_are_own_names() {
        for (host, own) in [
            ("localhost", true),
            ("LocalHost:9475", true),
            ("127.0.0.1:9475", true),
            ("[::1]:9475", true),
            ("[2001:db8::1]", true),
            ("10.8.0.1", true),
            ("localhost.evil.example", false),
            ("evil.example:9475", false),
            ("10.8.0.1.evil.example", false),
            ("localhost:9475:1", false),
            ("", false),
            (":9475", false),
        ] {
            assert_eq!(is_own_name(host), own, "{host:?}");
        }
    }

    #[test]
    fn other_pages_are_refused() {
        let request = |host, origin| HttpRequest {
            from: ([127, 0, 0, 1], 1).into(),
            method: Method::Get,
            path: "/",
            query: "",
            host,
            origin,
            authorization: None,
        };
        for (host, origin, trusted) in [
            (Some("127.0.0.1:1"), None, true),
            (Some("127.0.0.1:1"), Some("http://127.0.0.1:1"), true),
            (Some("localhost"), Some("https://localhost"), true),
            (Some("127.0.0.1:1"), Some("http://127.0.0.1:2"), false),
            (Some("127.0.0.1:1"), Some("null"), false),
            (Some("127.0.0.1:1"), Some("http://evil.example"), false),
            (Some("evil.example"), Some("http://evil.example"), false),
            (None, None, false),
        ] {
            assert_eq!(
                foreign(&request(host, origin)).is_none(),
                trusted,
                "{host:?} {origin:?}"
            );
        }
    }

    #[test]
    fn text_is_decoded_as_far_as_it_is_encoded() {
        for (text, plain) in [
            ("2001%3Adb8%3a%3a%2F64", "2001:db8::/64"),
            ("10.8.0.7", "10.8.0.7"),
            ("%", "%"),
            ("%4", "%4"),
            ("%zz%41", "%zzA"),
            ("%ff", "\u{fffd}"),
        ] {
            assert_eq!(decoded(text), plain);
        }
    }

    #[test]
    fn tokens_are_long_and_not_for_everybody() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("token");
        let read = |text: &str, mode| {
            std::fs::write(&path, text).unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
            Token::read(&path).map_err(|error| format!("{error:#}"))
        };
        let token = read("0123456789abcdef\n", 0o640).unwrap();
        assert!(token.is("0123456789abcdef"));
        for wrong in ["", "0123456789abcdeg", "0123456789abcdef\n", "0123456789abcde"] {
            assert!(!token.is(wrong), "{wrong:?}");
        }
        for (text, mode, why) in [
            ("0123456789abcdef", 0o604, "can be read by everybody"),
            ("0123456789abcde", 0o600, "15 bytes"),
            ("", 0o600, "0 bytes"),
            ("0123456789 abcdef", 0o600, "without spaces"),
        ] {
            let error = read(text, mode).err().unwrap();
            assert!(error.contains(why), "{error}");
        }
        let error = Token::read(&folder.path().join("none")).err().unwrap();
        assert!(format!("{error:#}").contains("cannot read"), "{error:#}");
    }
}
