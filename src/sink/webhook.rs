//! Tells a web service of bans: one POST each.
//!
//! Promise: each request takes at most [`PATIENCE`]; what fails for a passing reason is tried again [`RETRIES`] times
//! with growing pauses. Redirects are not followed, proxies that the environment names not used, answers not read beyond
//! their head. Certificates are checked against Mozilla's list.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError};
use log::warn;

use super::notice::Notice;

/// How long one request may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// How often a request is repeated.
const RETRIES: u32 = 4;
/// Pause before the first repetition; each further one is twice as long.
const PAUSE: Duration = Duration::from_secs(1);
/// Hosts whose latest notice is remembered at most.
const REMEMBERED: usize = 8_192;

/// Where and what is sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WebhookOptions {
    /// `http://` or `https://`.
    pub url: String,
    /// Header lines, `Name: value`.
    pub headers: Vec<String>,
    /// The body's template; one JSON object of all fields when empty.
    pub body: String,
    /// How long further notices of the same kind about the same host are left out.
    pub cooldown: Duration,
}

/// The sending side.
pub(super) struct Webhook {
    options: WebhookOptions,
    agent: ureq::Agent,
    sent: HashMap<(&'static str, String), Instant>,
}

/// Why a request came to nothing.
enum Trouble {
    /// Another attempt may do better.
    Passing(String),
    /// It would not.
    Lasting(String),
}

impl Webhook {
    pub(super) fn new(options: WebhookOptions) -> Self {
        let config = ureq::Agent::config_builder()
            .timeout_global(Some(PATIENCE))
            .proxy(None)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .http_status_as_error(false)
            .user_agent(concat!("btblocker/", env!("CARGO_PKG_VERSION")))
            .build();
        Self {
            options,
            agent: config.into(),
            sent: HashMap::new(),
        }
    }

    /// Sends a notice, unless one like it was sent just now. Between attempts the end is heard through `closing`,
    /// which closes then. Whether all is well.
    pub(super) fn send(&mut self, notice: &Notice, closing: &Receiver<()>) -> bool {
        let now = Instant::now();
        let cooldown = self.options.cooldown;
        if self.sent.len() >= REMEMBERED {
            self.sent
                .retain(|_, at| now.saturating_duration_since(*at) < cooldown);
            if self.sent.len() >= REMEMBERED {
                self.sent.clear();
            }
        }
        let key = (notice.event, notice.address.clone());
        let recent = |at: &Instant| now.saturating_duration_since(*at) < cooldown;
        if self.sent.get(&key).is_some_and(recent) {
            return true;
        }
        self.sent.insert(key, now);
        let body = notice.body(&self.options.body);
        let mut pause = PAUSE;
        for attempt in 0..=RETRIES {
            let trouble = match self.post(&body) {
                Ok(()) => return true,
                Err(trouble) => trouble,
            };
            let (Trouble::Passing(text) | Trouble::Lasting(text)) = &trouble;
            let over = attempt == RETRIES || matches!(trouble, Trouble::Lasting(_));
            if over || closing.recv_timeout(pause) == Err(RecvTimeoutError::Disconnected) {
                warn!(trouble = "webhook";
                    "webhook: not told of {} of {}: {text}", notice.event, notice.address);
                return false;
            }
            pause *= 2;
        }
        false
    }

    fn post(&self, body: &str) -> Result<(), Trouble> {
        let mut request = self
            .agent
            .post(&self.options.url)
            .content_type("application/json");
        for header in &self.options.headers {
            if let Some((name, value)) = header.split_once(':') {
                request = request.header(name.trim(), value.trim());
            }
        }
        match request.send(body) {
            Ok(response) => match response.status().as_u16() {
                200..=299 => Ok(()),
                status @ (408 | 425 | 429 | 500..=599) => Err(Trouble::Passing(format!("status {status}"))),
                status => Err(Trouble::Lasting(format!("status {status}"))),
            },
            // The error's text does not hold the URL, which may be a secret.
            Err(error @ (ureq::Error::BadUri(_) | ureq::Error::Http(_))) => {
                Err(Trouble::Lasting(error.to_string()))
            }
            Err(error) => Err(Trouble::Passing(error.to_string())),
        }
    }
}
