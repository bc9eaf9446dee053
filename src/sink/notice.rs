//! What programs and web hooks are told of a ban or its end, and the texts that are made of it.

use serde_json::{Map, Value, json};

/// One ban, or the end of one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Notice {
    /// `ban` or `unban`; `would-ban` or `would-unban` when bans are on paper only.
    pub event: &'static str,
    /// When, in RFC 3339.
    pub time: String,
    /// The host or network.
    pub address: String,
    /// Where it was seen; empty when nowhere.
    pub interface: String,
    /// What decided; empty when nothing did.
    pub technique: String,
    /// The program of the host, as it calls itself; empty when unknown.
    pub client: String,
    /// Why, in words.
    pub reason: String,
}

impl Notice {
    fn fields(&self) -> [(&'static str, &str); 7] {
        [
            ("event", self.event),
            ("time", &self.time),
            ("address", &self.address),
            ("interface", &self.interface),
            ("technique", &self.technique),
            ("client", &self.client),
            ("reason", &self.reason),
        ]
    }

    /// One argument of a program: `{address}` and the other fields stand for their values. A value never makes an
    /// option out of an argument: dashes in front of it are left out.
    pub(super) fn argument(&self, template: &str) -> String {
        fill(template, &self.fields(), |value| {
            value.trim_start_matches('-').replace('\0', "")
        })
    }

    /// A body: `template` with the fields as the inside of JSON strings; without a template one object of all.
    pub(super) fn body(&self, template: &str) -> String {
        if template.is_empty() {
            let fields = self.fields();
            let fields = fields
                .iter()
                .map(|(name, value)| ((*name).to_owned(), json!(value)));
            return Value::Object(fields.collect::<Map<_, _>>()).to_string();
        }
        fill(template, &self.fields(), |value| {
            let quoted = json!(value).to_string();
            let inside = quoted.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
            inside.unwrap_or_default().to_owned()
        })
    }
}

/// Replaces each `{name}` once: what a value holds is not looked at again.
fn fill(template: &str, fields: &[(&str, &str)], write: impl Fn(&str) -> String) -> String {
    let mut text = String::with_capacity(template.len() + 64);
    let mut rest = template;
    while let Some((before, behind)) = rest.split_once('{') {
        text.push_str(before);
        let field = behind.split_once('}').and_then(|(name, behind)| {
            let (_, value) = fields.iter().find(|(field, _)| *field == name)?;
            Some((*value, behind))
        });
        if let Some((value, behind)) = field {
            text.push_str(&write(value));
            rest = behind;
        } else {
            text.push('{');
            rest = behind;
        }
    }
    text + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    fn notice(client: &str) -> Notice {
        Notice {
            event: "ban",
            address: "10.8.0.7".to_owned(),
            client: client.to_owned(),
            ..Notice::default()
        }
    }

    #[test]
    fn arguments_hold_values_that_are_no_options_and_no_templates() {
        for (template, client, argument) in [
            ("{address}", "", "10.8.0.7"),
            ("--host={address},{event}", "", "--host=10.8.0.7,ban"),
            ("{client}", "--force", "force"),
            ("{client}", "{address}; rm -rf / $(x)", "{address}; rm -rf / $(x)"),
            ("{nothing} {", "", "{nothing} {"),
        ] {
            assert_eq!(notice(client).argument(template), argument, "{template} {client}");
        }
    }

    #[test]
    fn bodies_stay_json_whatever_a_peer_calls_itself() {
        for client in ["plain", "a\"b\\c\n\u{1}", "\",\"text\":\"forged"] {
            let read =
                |template: &str| serde_json::from_str::<Value>(&notice(client).body(template)).unwrap();
            let hook = read(r#"{"text": "{address}: {client}", "n": {"x": 1}}"#);
            assert_eq!(
                (&hook["text"], &hook["n"]["x"]),
                (&json!(format!("10.8.0.7: {client}")), &json!(1))
            );
            assert_eq!(read("")["client"], client);
        }
    }
}
