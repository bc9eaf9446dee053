//! Environment variables of btblocker's predecessor, so that its units keep working.
//!
//! They count less than `BTBLOCKER_*`. Empty ones count as absent, as they did. Those without a meaning here are
//! named in a note instead of being refused.

use figment::value::{Dict, Map, Value};

/// Variable and key.
const NAMES: [(&str, &str); 12] = [
    ("INTERFACE", "interface"),
    ("LOG_LEVEL", "log_level"),
    ("BAN_DURATION", "ban_duration"),
    ("DETECTION_LOG", "detection_log"),
    ("MONITOR_ONLY", "monitor_only"),
    ("BLOCK_SOCKS", "block_socks"),
    ("XDP_MODE", "xdp_mode"),
    ("ENTROPY_THRESHOLD", "entropy_threshold"),
    ("MIN_PAYLOAD_SIZE", "min_payload_size"),
    ("IPSET_NAME", "set_name"),
    ("CLEANUP_INTERVAL", "cleanup_interval"),
    ("XDP_CLEANUP_INTERVAL", "cleanup_interval"),
];

/// A key that had another name and is written alike.
const PORTS: (&str, &str) = ("WHITELIST_PORTS", "exempt_ports");

/// Variables without a meaning here, and why.
const UNUSED: [(&str, &str); 1] = [("QUEUE_NUM", "traffic is watched, not queued")];

/// Entropy was measured over whole payloads, in bits per byte; here it is over 96 bytes, which have at most this.
const MOST_ENTROPY: f32 = 6.585;

/// The name under which the source stands in figment's metadata.
pub(super) const SOURCE: &str = "former environment";

/// The variable that gave a key its value: of several that are set, the last.
pub(super) fn variable(key: &str) -> Option<&'static str> {
    let is_set = |name: &&str| std::env::var(name).is_ok_and(|text| !text.trim().is_empty());
    let names = NAMES.iter().chain([&PORTS]).filter(|(_, its)| *its == key);
    names.map(|(name, _)| *name).rfind(is_set)
}

/// What the variables say.
#[derive(Debug, Default)]
pub(super) struct Former {
    values: Dict,
    /// Variables that are set and have no effect, with the reason.
    pub(super) notes: Vec<String>,
}

impl Former {
    /// Reads variables by `get`.
    pub(super) fn read(get: impl Fn(&str) -> Option<String>) -> Self {
        let mut former = Self::default();
        let set = |name: &str| get(name).filter(|value| !value.trim().is_empty());
        for (name, key) in NAMES.iter().chain([&PORTS]) {
            let Some(text) = set(name) else { continue };
            let text = text.trim();
            let too_much = |bits: f32| *key == "entropy_threshold" && bits > MOST_ENTROPY;
            if text.parse().is_ok_and(too_much) {
                former.notes.push(format!(
                    "variable {name}={text} has no effect: entropy is measured over 96 bytes, which have \
                     {MOST_ENTROPY} bits per byte at most; set entropy_threshold"
                ));
                continue;
            }
            let value = match (*key, text) {
                ("monitor_only" | "block_socks", "1") => Value::from(true),
                ("monitor_only" | "block_socks", "0") => Value::from(false),
                // Reading a value has no way to fail: what is nothing else is a text.
                _ => text.parse().unwrap_or_else(|_| Value::from(text)),
            };
            former.values.insert((*key).to_owned(), value);
        }
        for (name, why) in UNUSED {
            if set(name).is_some() {
                former.notes.push(format!("variable {name} has no effect: {why}"));
            }
        }
        former
    }
}

impl figment::Provider for Former {
    fn metadata(&self) -> figment::Metadata {
        figment::Metadata::named(SOURCE)
    }
    fn data(&self) -> Result<Map<figment::Profile, Dict>, figment::Error> {
        Ok(Map::from([(figment::Profile::Default, self.values.clone())]))
    }
}
