//! Requests and replies, and how they are written.

use std::net::IpAddr;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::ban::{Element, Record};
use crate::overview::{Ban, Explanation, Overview};

/// What is asked of the daemon.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "command", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Request {
    /// All bans in force.
    Bans {},
    /// To ban a host or network.
    Ban {
        /// Whom.
        #[serde(with = "text")]
        address: Element,
        /// For how long, in seconds; the configured time when absent.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        seconds: Option<u32>,
    },
    /// To lift one ban.
    Unban {
        /// Whose.
        #[serde(with = "text")]
        address: Element,
    },
    /// To lift all bans.
    UnbanAll {},
    /// Never to ban a host or network until the daemon ends, and to lift its ban.
    Allow {
        /// Whom.
        #[serde(with = "text")]
        address: Element,
    },
    /// What is held of a host, and what a ban of it would still need.
    Explain {
        /// Of whom.
        address: IpAddr,
    },
    /// How the daemon is.
    Status {},
    /// What the daemon has seen and done, as the web page and `top` show it.
    Overview {},
}

/// What the daemon answers.
#[derive(Clone, Debug)]
pub enum Reply {
    /// All bans in force.
    Bans {
        /// Each with its record.
        bans: Vec<(Element, Record)>,
        /// The manager's time, in which their deadlines are.
        now: Duration,
    },
    /// It is done; in words.
    Done(String),
    /// It is not done; why.
    Refused(String),
    /// How the daemon is, as an object.
    Status(Value),
    /// What is held of a host.
    Explained(Box<Explanation>),
    /// What it has seen and done.
    Overview(Box<Overview>),
}

/// What lifting a ban came to, in words: whether there was one, and which network is still banned around it.
pub fn unban_words(element: Element, was_banned: bool, around: Option<Element>) -> String {
    match (was_banned, around) {
        (true, None) => format!("{element} unbanned"),
        (true, Some(network)) => format!("{element} unbanned, but still banned with {network}"),
        (false, None) => format!("{element} was not banned"),
        (false, Some(network)) => format!("{element} was not banned by itself, but is with {network}"),
    }
}

impl Reply {
    /// The reply as lines, each with its end.
    pub(super) fn lines(self) -> String {
        let line = |value: Value| format!("{value}\n");
        match self {
            Self::Bans { mut bans, now } => {
                bans.sort_by_key(|(element, _)| *element);
                let mut lines: String = bans
                    .iter()
                    .map(|(element, record)| line(banned(*element, record, now)))
                    .collect();
                lines.push_str(&line(json!({ "ok": true })));
                lines
            }
            Self::Done(message) => line(json!({ "ok": true, "message": message })),
            Self::Refused(error) => line(json!({ "ok": false, "error": error })),
            Self::Status(status) => line(status) + &line(json!({ "ok": true })),
            Self::Explained(explanation) => line(json!(explanation)) + &line(json!({ "ok": true })),
            Self::Overview(overview) => line(json!(overview)) + &line(json!({ "ok": true })),
        }
    }
}

/// `{"event":"banned",…}`: a ban in force.
fn banned(element: Element, record: &Record, now: Duration) -> Value {
    let mut line = json!(Ban::new(element, record, now));
    line["event"] = json!("banned");
    line
}

/// Elements as text.
mod text {
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    use super::Element;

    pub(super) fn serialize<S: Serializer>(element: &Element, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(element)
    }
    pub(super) fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<Element, D::Error> {
        String::deserialize(d)?.parse().map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_read_as_they_are_written() {
        let address = "2001:db8::/64".parse().unwrap();
        for (request, text) in [
            (Request::Bans {}, r#"{"command":"bans"}"#),
            (
                Request::Ban {
                    address,
                    seconds: Some(9),
                },
                r#"{"command":"ban","address":"2001:db8::/64","seconds":9}"#,
            ),
            (
                Request::Ban {
                    address,
                    seconds: None,
                },
                r#"{"command":"ban","address":"2001:db8::/64"}"#,
            ),
            (Request::UnbanAll {}, r#"{"command":"unban-all"}"#),
            (
                Request::Allow { address },
                r#"{"command":"allow","address":"2001:db8::/64"}"#,
            ),
            (
                Request::Explain {
                    address: "2001:db8::7".parse().unwrap(),
                },
                r#"{"command":"explain","address":"2001:db8::7"}"#,
            ),
        ] {
            assert_eq!(serde_json::to_string(&request).unwrap(), text);
            assert_eq!(serde_json::from_str::<Request>(text).unwrap(), request);
        }
    }

    #[test]
    fn wrong_requests_are_refused() {
        for text in [
            "",
            "5",
            "{}",
            r#"{"command":"reboot"}"#,
            r#"{"command":"ban"}"#,
            r#"{"command":"ban","address":"10.0.0.0/33"}"#,
            r#"{"command":"ban","address":"192.0.2.1","seconds":-1}"#,
            r#"{"command":"ban","address":"192.0.2.1","minutes":1}"#,
            r#"{"command":"bans","all":true}"#,
            r#"{"command":"explain","address":"10.0.0.0/8"}"#,
        ] {
            assert!(serde_json::from_str::<Request>(text).is_err(), "{text}");
        }
    }
}
