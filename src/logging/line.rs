//! One line: its text and its keys.

use std::io::{self, Write};
use std::time::SystemTime;

use btblocker_detectors::Timestamp;
use log::kv::{Key, Value, VisitSource};
use log::{Level, Record};
use serde_json::{Map, json};

use crate::event;

/// Keys of a record as text, in the order of the call.
#[derive(Debug, Default)]
pub(super) struct Line {
    keys: Vec<(String, String)>,
}

impl<'kvs> VisitSource<'kvs> for Line {
    fn visit_pair(&mut self, key: Key<'kvs>, value: Value<'kvs>) -> Result<(), log::kv::Error> {
        self.keys.push((key.to_string(), value.to_string()));
        Ok(())
    }
}

/// The priority of syslog (RFC 5424 section 6.2.1) that journald reads from `<N>`.
pub(super) const fn priority(level: Level) -> u8 {
    match level {
        Level::Error => 3,
        Level::Warn => 4,
        Level::Info => 6,
        Level::Debug | Level::Trace => 7,
    }
}

impl Line {
    pub(super) fn of(record: &Record<'_>) -> Self {
        let mut line = Self::default();
        // A value that cannot be shown is left out.
        let _ = record.key_values().visit(&mut line);
        line
    }

    fn get(&self, key: &str) -> Option<&str> {
        let found = self.keys.iter().find(|(name, _)| name == key);
        found.map(|(_, value)| value.as_str())
    }

    /// The host, or the trouble with many hosts, of a line that may come again and again. Bans and their ends are not
    /// among them: each is an event.
    pub(super) fn repeatable(&self, record: &Record<'_>) -> Option<String> {
        let event = record.level() == Level::Info;
        let about = self.get("trouble").or_else(|| self.get("host"));
        about.filter(|_| !event).map(str::to_owned)
    }

    /// The text with its interface, on one line.
    pub(super) fn text(&self, out: &mut impl Write, record: &Record<'_>, held_back: u64) -> io::Result<()> {
        if let Some(interface) = self.get("interface") {
            write!(out, "{interface}: ")?;
        }
        write!(out, "{}", record.args().to_string().replace('\n', " "))?;
        if held_back > 0 {
            write!(out, " ({held_back} alike lines held back)")?;
        }
        writeln!(out)
    }

    /// One JSON object: `time`, `level`, `message`, and the keys.
    pub(super) fn json(
        &self,
        out: &mut impl Write,
        record: &Record<'_>,
        held_back: u64,
        now: SystemTime,
    ) -> io::Result<()> {
        let micros = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let micros = u64::try_from(micros.as_micros()).unwrap_or(u64::MAX);
        let mut object = Map::new();
        object.insert("time".into(), json!(event::rfc3339(Timestamp(micros))));
        object.insert("level".into(), json!(record.level().as_str().to_lowercase()));
        for (key, value) in &self.keys {
            object.insert(key.clone(), json!(value));
        }
        object.insert("message".into(), json!(record.args().to_string()));
        if held_back > 0 {
            object.insert("held_back".into(), json!(held_back));
        }
        writeln!(out, "{}", serde_json::Value::Object(object))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(level: Level, held_back: u64) -> (String, String, Option<String>) {
        let keys: &[(&str, &str)] = &[("interface", "wg0"), ("host", "10.8.0.7")];
        let (mut text, mut json) = (Vec::new(), Vec::new());
        let arguments = format_args!("one\n\"two\"");
        let record = Record::builder()
            .level(level)
            .args(arguments)
            .key_values(&keys)
            .build();
        let line = Line::of(&record);
        line.text(&mut text, &record, held_back).unwrap();
        line.json(&mut json, &record, held_back, SystemTime::UNIX_EPOCH)
            .unwrap();
        let repeatable = line.repeatable(&record);
        (
            String::from_utf8(text).unwrap(),
            String::from_utf8(json).unwrap(),
            repeatable,
        )
    }

    #[test]
    fn a_line_has_its_interface_and_stays_one_line() {
        let (text, json, repeatable) = lines(Level::Warn, 3);
        assert_eq!(text, "wg0: one \"two\" (3 alike lines held back)\n");
        let read: serde_json::Value = serde_json::from_str(&json).unwrap();
        assert_eq!(
            read,
            json!({
                "time": "1970-01-01T00:00:00.000000Z", "level": "warn", "interface": "wg0", "host": "10.8.0.7",
                "message": "one\n\"two\"", "held_back": 3,
            })
        );
        assert_eq!(
            (json.lines().count(), repeatable.as_deref()),
            (1, Some("10.8.0.7"))
        );
    }

    #[test]
    fn events_may_come_again() {
        assert_eq!(lines(Level::Info, 0).2, None);
    }
}
