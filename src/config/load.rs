//! Loading: the four sources, one after the other, and what may be wrong with them.

use std::fs;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use figment::Figment;
use figment::providers::{Env, Format, Serialized, Toml};
use figment::value::{Dict, Map, Value};

use super::former::{self, Former};
use super::values::{BAN_TIMES, format_duration, is_ban_time};
use super::{Config, Overrides};

/// The file that is read when none is named and it exists.
pub const DEFAULT_FILE: &str = "/etc/btblocker/btblocker.toml";

/// Prefix of the environment variables; the rest is the key in capitals: `BTBLOCKER_BAN_DURATION`.
const PREFIX: &str = "BTBLOCKER_";

/// Why a configuration is refused.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// A source cannot be read, or holds a wrong key, type or value.
    #[error("{key}: {problem}, in {origin}")]
    Value {
        /// The key, or the file when it cannot be read as a whole.
        key: String,
        /// What is wrong with it.
        problem: String,
        /// File, variable or flag.
        origin: String,
    },
    /// A value is out of range.
    #[error("{key}: {value} is out of range, {limit} is allowed ({origin})")]
    Range {
        /// The key.
        key: String,
        /// The value.
        value: String,
        /// What is allowed.
        limit: String,
        /// File, variable or flag.
        origin: String,
    },
    /// The named file does not exist.
    #[error("configuration file {0} does not exist")]
    NoFile(PathBuf),
    /// There is a file, but this user may not read it, or it is none.
    #[error("configuration file {0} cannot be read: {1}")]
    Unreadable(PathBuf, io::Error),
}

/// A configuration, and where its values come from.
#[derive(Debug)]
pub struct Loaded {
    /// The values.
    pub config: Config,
    /// Settings of the environment that have no effect, each with the reason.
    pub notes: Vec<String>,
    sources: Sources,
}

impl Loaded {
    /// File and line, variable, flag or default that gave a key its value.
    pub fn origin(&self, key: &str) -> String {
        self.sources.origin(key)
    }
}

#[derive(Debug)]
struct Sources {
    figment: Figment,
    file: PathBuf,
    text: String,
}

impl Sources {
    fn origin(&self, key: &str) -> String {
        self.metadata(key)
            .map_or_else(|| "default".to_owned(), |found| self.describe(found, key))
    }

    /// Who gave a key its value. The name of an interface in it may have dots of its own.
    fn metadata(&self, key: &str) -> Option<&figment::Metadata> {
        let Some(inside) = key.strip_prefix("interfaces.") else {
            return self.figment.find_metadata(key);
        };
        let sections = self.figment.find_value("interfaces").ok()?;
        let sections = sections.as_dict()?;
        let section = |name: &str| sections.get(name)?.as_dict();
        let mut values = match (section(inside), inside.rsplit_once('.')) {
            (Some(section), _) => section.values(),
            (None, Some((name, key))) => return self.figment.get_metadata(section(name)?.get(key)?.tag()),
            (None, None) => return None,
        };
        self.figment.get_metadata(values.next()?.tag())
    }

    fn describe(&self, metadata: &figment::Metadata, key: &str) -> String {
        match metadata.name.as_ref() {
            "command line" => format!("flag --{}", key.replace('_', "-")),
            former::SOURCE => format!("variable {}", former::variable(key).unwrap_or(key)),
            name if name.contains("environment") => format!("variable {PREFIX}{}", key.to_uppercase()),
            name if name.contains("TOML") => match self.line_of(key) {
                Some(line) => format!("file {}:{line}", self.file.display()),
                None => format!("file {}", self.file.display()),
            },
            _ => "default".to_owned(),
        }
    }

    /// Line of a key or of a section in the file, from 1.
    fn line_of(&self, key: &str) -> Option<usize> {
        let (section, name) = key.rsplit_once('.').unwrap_or(("", key));
        let mut current = String::new();
        for (index, line) in self.text.lines().enumerate() {
            let line = line.trim_start();
            let is_key = |line: &str| {
                line.strip_prefix(name)
                    .is_some_and(|rest| rest.trim_start().starts_with('='))
            };
            let header = line.strip_prefix('[').and_then(|rest| rest.split_once(']'));
            if let Some((header, _)) = header.filter(|(name, _)| name.starts_with("interfaces")) {
                current = header.replace([' ', '"', '\''], "");
                if current == key {
                    return Some(index + 1);
                }
            } else if current == section && is_key(line) {
                return Some(index + 1);
            }
        }
        None
    }

    fn explain(&self, error: figment::Error) -> ConfigError {
        let Some(first) = error.into_iter().next() else {
            let (key, problem) = ("configuration".to_owned(), "unreadable".to_owned());
            return ConfigError::Value {
                key,
                problem,
                origin: self.file.display().to_string(),
            };
        };
        let is_name = |part: &&String| !part.chars().all(|c| c.is_ascii_digit());
        let path: Vec<&str> = first.path.iter().filter(is_name).map(String::as_str).collect();
        let mut key = path.join(".").trim_start_matches("default.").to_owned();
        let problem = match &first.kind {
            figment::error::Kind::UnknownField(field, expected) => {
                if !key.starts_with("interfaces.") {
                    key.clone_from(field);
                }
                let known = closest(field, expected)
                    .map_or_else(String::new, |near| format!(" (did you mean {near}?)"));
                format!("unknown key{known}")
            }
            kind => {
                let said = kind.to_string().replace('`', "").trim_end().replace('\n', " ");
                in_words(&key, &said)
            }
        };
        if key.is_empty() {
            "configuration".clone_into(&mut key);
        }
        let origin = first
            .metadata
            .as_ref()
            .map_or_else(|| self.origin(&key), |found| self.describe(found, &key));
        ConfigError::Value { key, problem, origin }
    }

    /// Which interfaces `auto` stands for is not known here.
    fn check_watched(&self, name: &str, config: &Config) -> Result<(), ConfigError> {
        if ["auto", name]
            .iter()
            .any(|known| config.interface.iter().any(|watched| watched == known))
        {
            return Ok(());
        }
        let key = format!("interfaces.{name}");
        Err(ConfigError::Value {
            problem: format!("{name} is not watched, only {}", config.interface.join(", ")),
            origin: self.origin(&key),
            key,
        })
    }

    fn check(&self, config: &Config) -> Result<(), ConfigError> {
        let range = |key: &str, value: String, limit: String, good: bool| {
            if good {
                Ok(())
            } else {
                Err(ConfigError::Range {
                    key: key.to_owned(),
                    value,
                    limit,
                    origin: self.origin(key),
                })
            }
        };
        let number = |key: &str, value: u64, least: u64, most: u64| {
            range(
                key,
                value.to_string(),
                format!("{least} to {most}"),
                (least..=most).contains(&value),
            )
        };
        let time = |key: &str, value: Duration, least: Duration, most: Duration| {
            let limit = format!("{} to {}", format_duration(least), format_duration(most));
            range(
                key,
                format_duration(value),
                limit,
                (least..=most).contains(&value),
            )
        };
        let ban_time = |key: &str, value| {
            range(
                key,
                format_duration(value),
                BAN_TIMES.to_owned(),
                is_ban_time(value),
            )
        };
        ban_time("ban_duration", config.ban_duration)?;
        for (name, section) in &config.interfaces {
            self.check_watched(name, config)?;
            if let Some(duration) = section.ban_duration {
                ban_time(&format!("interfaces.{name}.ban_duration"), duration.0)?;
            }
        }
        time(
            "cleanup_interval",
            config.cleanup_interval,
            Duration::from_secs(1),
            Duration::from_secs(86_400),
        )?;
        time(
            "ban_escalation",
            config.ban_escalation,
            Duration::ZERO,
            Duration::from_secs(365 * 86_400),
        )?;
        // A lasting flow counts every half minute, twenty times in ten minutes.
        number("ban_threshold", config.ban_threshold as u64, 1, 20)?;
        number("report_threshold", config.report_threshold as u64, 1, 20)?;
        range(
            "ipv6_prefix",
            config.ipv6_prefix.to_string(),
            "128 or 64".to_owned(),
            matches!(config.ipv6_prefix, 64 | 128),
        )?;
        number(
            "max_bans_per_minute",
            config.max_bans_per_minute.into(),
            0,
            65_536,
        )?;
        for (key, path) in [
            ("state_dir", &config.state_dir),
            ("control_socket", &config.control_socket),
            ("evidence_dir", &config.evidence_dir),
        ] {
            range(
                key,
                path.display().to_string(),
                "an absolute path, or nothing,".to_owned(),
                path.as_os_str().is_empty() || path.is_absolute(),
            )?;
        }
        time(
            "capture_delay",
            config.capture_delay,
            Duration::from_millis(1),
            Duration::from_secs(1),
        )?;
        range(
            "interface",
            "an empty list".to_owned(),
            "at least one name".to_owned(),
            !config.interface.is_empty(),
        )?;
        number("workers", config.workers as u64, 0, 256)?;
        number("queue_batches", config.queue_batches as u64, 1, 65_536)?;
        number("max_flows", config.max_flows as u64, 1_024, 16_777_216)?;
        number("max_bans", config.max_bans as u64, 1, 16_777_216)?;
        number("snaplen", config.snaplen.into(), 256, 65_535)?;
        number("buffer_size", config.buffer_size.into(), 65_536, 1 << 30)?;
        number(
            "detection_log_max_size",
            config.detection_log_max_size,
            4_096,
            1 << 40,
        )?;
        let url = config.webhook_url.as_str();
        range(
            "webhook_url",
            "this".to_owned(),
            "an address that begins with http:// or https://".to_owned(),
            url.is_empty() || url.starts_with("http://") || url.starts_with("https://"),
        )?;
        let is_header = |line: &&String| {
            let name = line.split_once(':').map_or("", |(name, _)| name.trim());
            !name.is_empty()
                && name
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
        };
        let headers = config.webhook_headers.iter().filter(is_header).count();
        range(
            "webhook_headers",
            "one of them".to_owned(),
            "Name: value".to_owned(),
            headers == config.webhook_headers.len(),
        )?;
        time(
            "webhook_cooldown",
            config.webhook_cooldown,
            Duration::ZERO,
            Duration::from_secs(86_400),
        )?;
        number(
            "evidence_max_size",
            config.evidence_max_size as u64,
            16_384,
            4 << 20,
        )?;
        number("evidence_keep", config.evidence_keep as u64, 1, 100_000)?;
        if !config.web_token_file.as_os_str().is_empty() && config.metrics_listen.is_empty() {
            return Err(ConfigError::Value {
                key: "web_token_file".to_owned(),
                problem: "there is no web page without metrics_listen".to_owned(),
                origin: self.origin("web_token_file"),
            });
        }
        number("detection_log_keep", config.detection_log_keep.into(), 0, 1_000)?;
        range(
            "entropy_threshold",
            config.entropy_threshold.to_string(),
            "0 to 6.585 (the entropy of 96 bytes that are all different)".to_owned(),
            (0.0..=6.585).contains(&config.entropy_threshold),
        )
    }
}

/// Reads all sources.
///
/// # Errors
/// [`ConfigError`], naming the value, its source and what is allowed.
pub fn load(overrides: &Overrides) -> Result<Loaded, ConfigError> {
    let named = overrides.config.clone();
    let is_named = named.is_some();
    let file = named.unwrap_or_else(|| PathBuf::from(DEFAULT_FILE));
    let mut figment = Figment::from(Serialized::defaults(Config::default()));
    let text = match fs::read_to_string(&file) {
        Ok(text) => {
            figment = figment.merge(Toml::file_exact(&file));
            text
        }
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            return Err(ConfigError::Unreadable(file, error));
        }
        Err(_) if is_named => return Err(ConfigError::NoFile(file)),
        Err(_) => String::new(),
    };
    let former = Former::read(|name| std::env::var(name).ok());
    figment = figment
        .merge(&former)
        .merge(Env::prefixed(PREFIX))
        .merge(CommandLine(overrides));
    let sources = Sources { figment, file, text };
    let config: Config = sources
        .figment
        .extract()
        .map_err(|error| sources.explain(error))?;
    sources.check(&config)?;
    Ok(Loaded {
        config,
        notes: former.notes,
        sources,
    })
}

/// The command line as a source of its own, so that errors can name it.
struct CommandLine<'a>(&'a Overrides);

impl figment::Provider for CommandLine<'_> {
    fn metadata(&self) -> figment::Metadata {
        figment::Metadata::named("command line")
    }
    fn data(&self) -> Result<Map<figment::Profile, Dict>, figment::Error> {
        let dict = Value::serialize(self.0)?.into_dict().unwrap_or_default();
        Ok(Map::from([(figment::Profile::Default, dict)]))
    }
}

/// What is wrong with a value, without names of Rust's types and with what the key takes.
fn in_words(key: &str, said: &str) -> String {
    const TYPES: [(&str, &str); 6] = [
        ("u8", "a whole number from 0 to 255"),
        ("u16", "a whole number from 0 to 65535"),
        ("u32", "a whole number from 0 to 4294967295"),
        ("u64", "a whole number"),
        ("usize", "a whole number"),
        ("f32", "a number"),
    ];
    let expected = said.rsplit_once("expected ");
    let plain = expected.and_then(|(front, name)| {
        let (_, words) = TYPES.iter().find(|(known, _)| *known == name)?;
        Some(format!("{front}expected {words}"))
    });
    let said = plain.as_deref().unwrap_or(said);
    match key {
        "metrics_listen" => format!("{said} (an address with a port, such as 127.0.0.1:9475 or [::1]:9475)"),
        "exempt_ports" => format!("{said} (port numbers from 0 to 65535)"),
        "interface" if said.contains("found map") => {
            format!("{said} (what holds on one interface only stands in [interfaces.NAME])")
        }
        _ => said.to_owned(),
    }
}

/// The known key that is written most alike, if one is near: it contains the other, or both begin alike, or little
/// lies between what they begin and end with.
fn closest<'a>(field: &str, known: &'a [&'a str]) -> Option<&'a str> {
    let same = |a: &mut dyn Iterator<Item = (u8, u8)>| a.take_while(|(a, b)| a == b).count();
    let front = |name: &str| same(&mut name.bytes().zip(field.bytes()));
    let alike = |name: &str| front(name) + same(&mut name.bytes().rev().zip(field.bytes().rev()));
    let near = |name: &&&str| {
        let longer = name.len().max(field.len());
        front(name) >= 4 || alike(name) + 2 >= longer || name.contains(field) || field.contains(**name)
    };
    known.iter().filter(near).max_by_key(|name| alike(name)).copied()
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn with_file(text: &str, overrides: Overrides) -> Result<Loaded, ConfigError> {
        let mut file = tempfile::NamedTempFile::with_suffix(".toml").unwrap();
        file.write_all(text.as_bytes()).unwrap();
        load(&Overrides {
            config: Some(file.path().to_owned()),
            ..overrides
        })
    }

    #[test]
    fn later_sources_win() {
        let from_file = with_file(
            "ban_duration = \"30m\"\ninterface = \"eth0, wg0\"\n",
            Overrides::default(),
        )
        .unwrap();
        assert_eq!(from_file.config.ban_duration, Duration::from_secs(1_800));
        assert_eq!(from_file.config.interface, ["eth0", "wg0"]);
        assert!(
            from_file.origin("ban_duration").ends_with(".toml:1"),
            "{}",
            from_file.origin("ban_duration")
        );
        assert_eq!(from_file.origin("ban_target"), "default");
        let number = with_file("user = 1000", Overrides::default()).unwrap();
        assert_eq!(number.config.user.to_string(), "1000");
        let flags = Overrides {
            ban_duration: Some("90".into()),
            no_setup: Some(true),
            ..Overrides::default()
        };
        let from_flag = with_file("ban_duration = 7200", flags).unwrap();
        assert_eq!(from_flag.config.ban_duration, Duration::from_secs(90));
        assert!(!from_flag.config.setup);
        assert_eq!(from_flag.origin("ban_duration"), "flag --ban-duration");
    }

    #[test]
    fn wrong_values_are_named_with_source_and_limit() {
        for (text, needed) in [
            (
                "ban_duraton = 5",
                &[
                    "ban_duraton",
                    "unknown key",
                    "did you mean ban_duration",
                    ".toml:1",
                ][..],
            ),
            ("bann_duration = 5", &["did you mean ban_duration"]),
            ("wokers = 5", &["did you mean workers"]),
            ("workers = \"many\"", &["workers", "many", ".toml:1"]),
            (
                "\nban_duration = \"5 weeks\"",
                &["ban_duration", "5 weeks", "30m", ".toml:2"],
            ),
            ("ban_duration = 0", &["ban_duration", "1s to 2147483s", ".toml:1"]),
            ("ban_duration = -3", &["ban_duration", "negative"]),
            ("backend = \"pf\"", &["backend", "pf", "ipset, nftables"]),
            ("ban_target = \"all\"", &["ban_target", "all", "auto, source"]),
            (
                "allow = [\"10.0.0.0/33\"]",
                &["allow", "10.0.0.0/33", "198.51.100.0/24"],
            ),
            (
                "exempt_ports = [22, 99999]",
                &["exempt_ports", "99999", "0 to 65535"],
            ),
            (
                "buffer_size = \"16M\"",
                &["buffer_size", "16M", "a whole number from 0 to 4294967295"],
            ),
            ("max_bans = -1", &["max_bans", "-1", "expected a whole number,"]),
            ("[interface.wg0]", &["interface", "[interfaces.NAME]"]),
            ("set_name = \"a b\"", &["set_name", "a b", "letters"]),
            ("snaplen = 3", &["snaplen", "256 to 65535"]),
            ("ipv6_prefix = 56", &["ipv6_prefix", "56", "128 or 64"]),
            ("ban_escalation = \"2y\"", &["ban_escalation", "2y", "30m"]),
            (
                "ban_escalation = \"400d\"",
                &["ban_escalation", "400d", "0 to 365d"],
            ),
            ("ban_threshold = 0", &["ban_threshold", "1 to 20"]),
            ("report_threshold = 21", &["report_threshold", "21", "1 to 20"]),
            (
                "interface = \"eth0\"\n[interfaces.wg0]\nmonitor_only = true",
                &["interfaces.wg0: wg0 is not watched, only eth0", ".toml:2"],
            ),
            (
                "[interfaces.wg0]\n\nban_duratoin = \"1h\"",
                &[
                    "interfaces.wg0.ban_duratoin: unknown key",
                    "did you mean ban_duration",
                    ".toml:3",
                ],
            ),
            (
                "[interfaces.\"eth0.7\"]\nban_target = \"nobody\"",
                &["interfaces.eth0.7.ban_target", "nobody", ".toml:2"],
            ),
            (
                "ban_duration = 9\n[interfaces.wg0]\nban_duration = 0",
                &["interfaces.wg0.ban_duration: 0", "1s to", ".toml:3"],
            ),
            ("[interfaces]\nwg0 = 5", &["interfaces.wg0", ".toml:2"]),
            ("cleanup_interval = 0", &["cleanup_interval", "1s to 1d"]),
            ("max_bans_per_minute = -1", &["max_bans_per_minute", "-1"]),
            ("state_dir = \"state\"", &["state_dir", "absolute"]),
            ("control_socket = 5", &["control_socket"]),
            (
                "sensitivity = \"high\"",
                &["sensitivity", "high", "strict", "aggressive"],
            ),
            (
                "disable = [\"dhtt\"]",
                &["disable", "dhtt", "no such technique", "udp-tracker"],
            ),
            (
                "disable_signatures = \"nope\"",
                &["disable_signatures", "nope", "no such"],
            ),
            (
                "disable_signatures = \"agent-transmission\"",
                &[
                    "disable_signatures",
                    "agent-transmission",
                    "part of another technique",
                ],
            ),
            ("interface = ", &["TOML"]),
            (
                "detection_log_max_size = 9",
                &["detection_log_max_size", "4096 to"],
            ),
            ("detection_log_keep = 2000", &["detection_log_keep", "0 to 1000"]),
            ("evidence_dir = \"evidence\"", &["evidence_dir", "absolute"]),
            (
                "evidence_max_size = 9",
                &["evidence_max_size", "16384 to 4194304"],
            ),
            ("evidence_keep = 0", &["evidence_keep", "1 to 100000"]),
            (
                "detection_log_format = \"xml\"",
                &["detection_log_format", "xml", "text or json"],
            ),
            (
                "webhook_url = \"ftp://x\"",
                &["webhook_url", "https://", ".toml:1"],
            ),
            (
                "webhook_headers = \"Secret\"",
                &["webhook_headers", "Name: value"],
            ),
            ("webhook_cooldown = \"2d\"", &["webhook_cooldown", "2d", "1d"]),
            ("log_format = \"xml\"", &["log_format", "xml", "text or json"]),
            (
                "metrics_listen = \"9475\"",
                &["metrics_listen", "9475", "127.0.0.1:9475", ".toml:1"],
            ),
            (
                "web_token_file = \"/etc/token\"",
                &["web_token_file", "without metrics_listen", ".toml:1"],
            ),
        ] {
            let error = with_file(text, Overrides::default()).unwrap_err().to_string();
            for part in needed {
                assert!(error.contains(part), "{text:?}: {error:?} does not say {part:?}");
            }
        }
        let missing = Overrides {
            config: Some("/nonexistent.toml".into()),
            ..Overrides::default()
        };
        assert!(
            load(&missing)
                .unwrap_err()
                .to_string()
                .contains("/nonexistent.toml does not exist")
        );
    }

    #[test]
    fn defaults_survive_a_round_trip() {
        let text = Serialized::defaults(Config::default());
        let back: Config = Figment::from(text).extract().unwrap();
        assert_eq!(back, Config::default());
    }
}
