//! What of a new configuration a running daemon takes over, and what has to wait for a restart.

use super::Config;

/// Keys that change while the daemon runs.
const AT_RUNTIME: [&str; 26] = [
    "allow",
    "ban_duration",
    "ban_target",
    "ban_threshold",
    "block_socks",
    "classes",
    "cleanup_interval",
    "cleanup_on_stop",
    "detection_log",
    "detection_log_format",
    "detection_log_keep",
    "detection_log_max_size",
    "detection_log_payload",
    "disable",
    "disable_signatures",
    "entropy_threshold",
    "exempt_ports",
    "info_hash",
    "interfaces",
    "local_networks",
    "log_level",
    "max_bans_per_minute",
    "min_payload_size",
    "one_sided",
    "report_threshold",
    "sensitivity",
];

/// Whether a key changes while the daemon runs; others need a restart.
pub fn changes_at_runtime(key: &str) -> bool {
    AT_RUNTIME.contains(&key)
}

/// A configuration that was taken over as far as possible.
#[derive(Debug, PartialEq)]
pub struct Reloaded {
    /// What is in force from now on.
    pub config: Config,
    /// Keys whose new values are in force.
    pub changed: Vec<String>,
    /// Keys whose new values need a restart.
    pub waiting: Vec<String>,
}

impl Config {
    /// This configuration with those values of `next` that can change while the daemon runs.
    pub fn reloaded(&self, next: &Self) -> Reloaded {
        let values = |config: &Self| serde_json::to_value(config).unwrap_or_default();
        let (mut values, next_values) = (values(self), values(next));
        let (mut changed, mut waiting) = (Vec::new(), Vec::new());
        // The packet path sends samples only to a detection log that was there from the start.
        let begins_to_log =
            self.detection_log.as_os_str().is_empty() != next.detection_log.as_os_str().is_empty();
        // Files are confined to the folders that were known at the start.
        let other_folder = self.detection_log.parent() != next.detection_log.parent();
        // Whether bans are on paper or in the kernel is decided at the start.
        let other_holder = self.holder()
            != Self {
                interfaces: next.interfaces.clone(),
                ..self.clone()
            }
            .holder();
        for (key, value) in values.as_object_mut().into_iter().flatten() {
            let Some(new) = next_values.get(key).filter(|new| *new != value) else {
                continue;
            };
            let too_late = match key.as_str() {
                "detection_log" => begins_to_log || other_folder,
                "interfaces" => other_holder,
                _ => false,
            };
            if changes_at_runtime(key) && !too_late {
                *value = new.clone();
                changed.push(key.clone());
            } else {
                waiting.push(key.clone());
            }
        }
        // Values that were read once are read again.
        match serde_json::from_value(values) {
            Ok(config) => Reloaded {
                config,
                changed,
                waiting,
            },
            Err(_) => Reloaded {
                config: self.clone(),
                changed: Vec::new(),
                waiting: [changed, waiting].concat(),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn what_can_change_changes_and_the_rest_waits() {
        let old = Config {
            detection_log: "/tmp/a".into(),
            entropy_threshold: 5.7,
            ..Config::default()
        };
        let mut next = Config {
            ban_duration: Duration::from_secs(60),
            allow: vec!["10.0.0.0/8".parse().unwrap()],
            workers: 7,
            interface: vec!["eth9".to_owned()],
            ..old.clone()
        };
        let reloaded = old.reloaded(&next);
        assert_eq!(
            (reloaded.changed.join(" "), reloaded.waiting.join(" ")),
            ("allow ban_duration".to_owned(), "interface workers".to_owned())
        );
        (next.workers, next.interface) = (old.workers, old.interface.clone());
        assert_eq!(reloaded.config, next);
        assert_eq!(old.reloaded(&old).changed, [""; 0]);
    }

    #[test]
    fn a_detection_log_moves_at_runtime_within_its_folder() {
        let with = |path: &str| Config {
            detection_log: path.into(),
            ..Config::default()
        };
        for (from, to, at_runtime) in [
            ("/a", "/b", true),
            ("/a", "/b/c", false),
            ("", "/b", false),
            ("/a", "", false),
        ] {
            let reloaded = with(from).reloaded(&with(to));
            assert_eq!(reloaded.waiting.is_empty(), at_runtime, "{from:?} to {to:?}");
        }
    }

    #[test]
    fn sections_change_at_runtime_unless_bans_move_to_the_kernel() {
        let with = |monitor_only: bool, text: &str| Config {
            monitor_only,
            interfaces: serde_json::from_str(text).unwrap(),
            ..Config::default()
        };
        let (none, strict) = ("{}", r#"{"wg0": {"sensitivity": "strict"}}"#);
        let (off, on) = (
            r#"{"wg0": {"monitor_only": false}}"#,
            r#"{"wg0": {"monitor_only": true}}"#,
        );
        for (monitor_only, from, to, at_runtime) in [
            (false, none, strict, true),
            (false, on, none, true),
            (true, none, strict, true),
            (true, none, off, false),
            (true, off, none, false),
        ] {
            let next = with(monitor_only, to);
            let reloaded = with(monitor_only, from).reloaded(&next);
            assert_eq!(reloaded.waiting.is_empty(), at_runtime, "{from} to {to}");
            assert_eq!(reloaded.config == next, at_runtime, "{from} to {to}");
        }
    }

    #[test]
    fn every_key_of_the_list_exists() {
        let values = serde_json::to_value(Config::default()).unwrap();
        for key in AT_RUNTIME {
            assert!(values.get(key).is_some(), "{key}");
        }
    }
}
