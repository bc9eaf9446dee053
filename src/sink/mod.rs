//! Who is told beside the kernel: files, HTTP, programs.
//!
//! Promise: every sink has a thread and a bounded queue of its own. Handing something over never waits; what does
//! not fit is dropped and counted. A sink that fails says so once and does not stop anything else.

#![forbid(unsafe_code)]

mod command;
mod detection;
mod detection_log;
mod detection_text;
mod evidence;
mod http;
mod notice;
mod notifier;
mod pcapng;
mod rotation;
mod webhook;

pub use command::Programs;
pub use detection::Detection;
pub use detection_log::{DetectionLog, DetectionLogOptions};
pub use evidence::{EvidenceFiles, EvidenceOptions, Exhibit};
pub use http::{HttpRequest, ListenError, Method, Page, Pages, Status, serve};
pub use notice::Notice;
pub use notifier::Notifier;
pub use rotation::Rotation;
pub use webhook::WebhookOptions;

/// How lines are written, for people or for programs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LineFormat {
    /// Text for people.
    #[default]
    Text,
    /// One JSON object per line.
    Json,
}

impl LineFormat {
    /// Every format with its name.
    pub const ALL: [(Self, &'static str); 2] = [(Self::Text, "text"), (Self::Json, "json")];
}

impl std::fmt::Display for LineFormat {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Text => "text",
            Self::Json => "json",
        })
    }
}

impl std::str::FromStr for LineFormat {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let found = Self::ALL.iter().find(|(_, name)| *name == text);
        found
            .map(|(format, _)| *format)
            .ok_or_else(|| format!("unknown format {text:?}, text or json is needed"))
    }
}
