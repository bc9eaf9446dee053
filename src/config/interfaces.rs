//! Sections for single interfaces: `[interfaces.wg0]`.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{BanRule, Config, Sensitivity, values};
use crate::backend::BackendKind;
use crate::judge::{BanTarget, Policy};
use crate::network::PerInterface;

/// What holds on one interface instead of the value of the same name. A flow that is seen on several interfaces is
/// judged by the section of the one where its surest evidence was seen first.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct InterfaceSection {
    /// How much certainty is demanded.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sensitivity: Option<Sensitivity>,
    /// Which end of a flow is banned.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ban_target: Option<Target>,
    /// Ports on which only conclusive evidence counts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exempt_ports: Option<Ports>,
    /// Detect and report, but ban nobody for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub monitor_only: Option<bool>,
    /// How long a host is banned.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ban_duration: Option<Time>,
}

/// A ban target as text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Target(#[serde(with = "values::text")] pub BanTarget);

/// Ports as a list or as text with commas.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Ports(#[serde(with = "values::list")] pub Vec<u16>);

/// A time with a unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Time(#[serde(with = "values::duration")] pub Duration);

impl Config {
    /// This configuration as it holds on one interface.
    pub fn on(&self, interface: &str) -> Self {
        let mut config = self.clone();
        if let Some(section) = self.interfaces.get(interface) {
            let InterfaceSection {
                sensitivity,
                ban_target,
                exempt_ports,
                monitor_only,
                ban_duration,
            } = section.clone();
            config.sensitivity = sensitivity.unwrap_or(config.sensitivity);
            config.ban_target = ban_target.map_or(config.ban_target, |target| target.0);
            config.exempt_ports = exempt_ports.map_or(config.exempt_ports, |ports| ports.0);
            config.monitor_only = monitor_only.unwrap_or(config.monitor_only);
            config.ban_duration = ban_duration.map_or(config.ban_duration, |time| time.0);
        }
        config
    }

    /// A value made of the configuration for each of the interfaces that are watched, in their order.
    fn per_interface<T>(&self, interfaces: &[String], make: impl Fn(&Self) -> T) -> PerInterface<T> {
        let own = |name: &String| self.interfaces.contains_key(name).then(|| make(&self.on(name)));
        PerInterface::new(make(self), interfaces.iter().map(own))
    }

    /// What the judge decides by on each of these interfaces.
    pub fn policies(&self, interfaces: &[String]) -> PerInterface<Policy> {
        self.per_interface(interfaces, Self::policy)
    }

    /// What the inspectors are told on each of these interfaces.
    pub fn tuning(&self, interfaces: &[String]) -> PerInterface<btblocker_detectors::Options> {
        self.per_interface(interfaces, Self::inspector_options)
    }

    /// What becomes of hosts that are to be banned for what was seen on each of these interfaces.
    pub fn ban_rules(&self, interfaces: &[String]) -> PerInterface<BanRule> {
        let mixed = self.holder() != BackendKind::DryRun;
        self.per_interface(interfaces, |config| BanRule {
            duration: config.ban_duration,
            monitored: mixed && config.monitor_only,
        })
    }

    /// Who holds the bans, if there are any: nobody in the kernel when no interface leads to bans.
    pub fn holder(&self) -> BackendKind {
        let bans_somewhere = self
            .interfaces
            .values()
            .any(|section| section.monitor_only == Some(false));
        if self.monitor_only && !bans_somewhere {
            BackendKind::DryRun
        } else {
            self.backend
        }
    }

    /// An interface that has a section, but is not among those that are watched.
    pub fn stray_section(&self, watched: &[String]) -> Option<&str> {
        let mut names = self.interfaces.keys().map(String::as_str);
        names.find(|name| !watched.iter().any(|watched| watched == name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(toml: &str) -> Config {
        use figment::providers::Format;
        figment::Figment::from(figment::providers::Serialized::defaults(Config::default()))
            .merge(figment::providers::Toml::string(toml))
            .extract()
            .unwrap()
    }

    #[test]
    fn a_section_holds_on_its_interface_only() {
        let config = config(
            "ban_duration = \"1h\"\n[interfaces.wg0]\nban_duration = 60\nban_target = \"both\"\n\
             exempt_ports = \"1,2\"\nsensitivity = \"strict\"\nmonitor_only = true",
        );
        let interfaces = ["eth0".to_owned(), "wg0".to_owned()];
        let rules = config.ban_rules(&interfaces);
        let facts = |number| {
            let (rule, policies) = (rules.of(number), config.policies(&interfaces));
            let (policy, tuning) = (policies.of(number).clone(), config.tuning(&interfaces));
            let ports = policy.exempt_ports.len();
            let strict = tuning.of(number).sensitivity == btblocker_detectors::Sensitivity::Strict;
            assert_eq!(tuning.of(number).sensitivity, policy.sensitivity);
            (
                rule.duration.as_secs(),
                rule.monitored,
                policy.target,
                ports,
                strict,
            )
        };
        assert_eq!(facts(1), (60, true, BanTarget::Both, 2, true));
        for other in [0, 2, 99] {
            assert_eq!(facts(other), (3_600, false, BanTarget::Auto, 7, false));
        }
        assert_eq!(config.stray_section(&interfaces), None);
        assert_eq!(config.stray_section(&["eth0".to_owned()]), Some("wg0"));
    }

    #[test]
    fn the_kernel_holds_bans_when_any_interface_leads_to_them() {
        for (text, holder) in [
            ("", BackendKind::Ipset),
            ("monitor_only = true", BackendKind::DryRun),
            (
                "monitor_only = true\n[interfaces.wg0]\nmonitor_only = false",
                BackendKind::Ipset,
            ),
            (
                "monitor_only = true\n[interfaces.wg0]\nsensitivity = \"strict\"",
                BackendKind::DryRun,
            ),
            ("[interfaces.wg0]\nmonitor_only = true", BackendKind::Ipset),
        ] {
            assert_eq!(config(text).holder(), holder, "{text}");
        }
    }
}
