//! `btblocker check`: what is in place, what is missing, and what to do about it.

use std::io::Write;

use crate::backend;
use crate::capture::{LiveCapture, LiveOptions};
use crate::config::Config;
use crate::network::Network;

/// One thing that was looked at.
struct Finding {
    what: String,
    /// What is wrong and what to do; `None`: it is in order.
    trouble: Option<String>,
}

/// Examines interfaces, privileges, sets and rules; prints one line for each.
///
/// # Errors
/// When anything would keep btblocker from working.
pub fn check(config: &Config, out: &mut dyn Write) -> anyhow::Result<()> {
    let mut findings = Vec::new();
    let network = Network::read()?;
    for name in &config.interface {
        if name == "auto" {
            let found = network.default_interfaces();
            findings.push(Finding {
                what: format!("interface auto is {}", found.join(", ")),
                trouble: found
                    .is_empty()
                    .then(|| "there is no default route; name the interface".to_owned()),
            });
            findings.extend(found.into_iter().map(capture));
        } else {
            findings.push(capture(name));
        }
    }
    findings.push(sets(config, &network));
    for finding in &findings {
        match &finding.trouble {
            None => writeln!(out, "ok    {}", finding.what)?,
            Some(trouble) => writeln!(out, "FAIL  {}: {trouble}", finding.what)?,
        }
    }
    let wrong = findings
        .iter()
        .filter(|finding| finding.trouble.is_some())
        .count();
    anyhow::ensure!(wrong == 0, "{wrong} of {} checks failed", findings.len());
    Ok(())
}

fn capture(name: &str) -> Finding {
    let trouble = LiveCapture::open(name, 0, &LiveOptions::default()).err();
    Finding {
        what: format!("capture on {name}"),
        trouble: trouble.map(|error| format!("{:#}", anyhow::Error::from(error))),
    }
}

fn sets(config: &Config, network: &Network) -> Finding {
    let checked = backend::open(config.backend, &config.backend_options(config.watched(network)))
        .and_then(|mut backend| backend.verify());
    Finding {
        what: format!("{}: sets and drop rules", config.backend),
        trouble: checked
            .err()
            .map(|error| format!("{:#}", anyhow::Error::from(error))),
    }
}
