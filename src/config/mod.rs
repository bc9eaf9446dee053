//! One configuration from four sources: defaults, file, environment, command line; later ones win.
//!
//! [`Config`] has no optional value left except where absence means something. Unknown keys, wrong types
//! and values out of range are errors that name the value, its source and the limit.

mod former;
mod interfaces;
mod load;
mod overrides;
mod reload;
mod rights;
#[cfg(test)]
mod round_trip_tests;
mod values;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::num::{NonZeroU32, NonZeroUsize};
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::backend::{self, BackendKind, Hooks, SetName, XdpMode, XdpPin};
use crate::ban::{BanPolicy, Element, Exemption, Exemptions, Timeout};
use crate::event::{InfoHashes, ShowInfoHash};
use crate::judge::{BanTarget, Policy};
use crate::network::{Network, own_namespace, separate_namespace};
use crate::pipeline::QUEUE_BATCHES;
use crate::sandbox::User;
use crate::sink::{DetectionLogOptions, EvidenceOptions, LineFormat, Programs, Rotation, WebhookOptions};
use crate::state::Store;
use btblocker_detectors::{Class, Technique};

pub use interfaces::InterfaceSection;
pub use load::{ConfigError, DEFAULT_FILE, Loaded, load};
pub use overrides::Overrides;
pub use reload::{Reloaded, changes_at_runtime};
pub use values::{format_duration, parse_ban_time, parse_duration};

/// Where bans are kept by default.
const STATE_DIR: &str = "/var/lib/btblocker";
/// Where the daemon answers by default.
const CONTROL_SOCKET: &str = "/run/btblocker/control.sock";

/// How much certainty strong and weak evidence needs before it adds up to a verdict.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Sensitivity {
    /// Only conclusive evidence.
    Strict,
    /// Strong evidence with corroboration.
    #[default]
    Balanced,
    /// Weak evidence on many remote hosts, too.
    Aggressive,
}

impl From<Sensitivity> for btblocker_detectors::Sensitivity {
    fn from(sensitivity: Sensitivity) -> Self {
        match sensitivity {
            Sensitivity::Strict => Self::Strict,
            Sensitivity::Balanced => Self::Balanced,
            Sensitivity::Aggressive => Self::Aggressive,
        }
    }
}

/// Least severity of log lines.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogLevel {
    /// The program stops.
    Error,
    /// Somebody should look.
    Warn,
    /// Bans, start and stop.
    #[default]
    Info,
    /// Each verdict.
    Debug,
    /// Internals.
    Trace,
}

impl From<LogLevel> for log::LevelFilter {
    fn from(level: LogLevel) -> Self {
        match level {
            LogLevel::Error => Self::Error,
            LogLevel::Warn => Self::Warn,
            LogLevel::Info => Self::Info,
            LogLevel::Debug => Self::Debug,
            LogLevel::Trace => Self::Trace,
        }
    }
}

/// Everything that can be set.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Interfaces to watch; `auto` stands for the interface of the default route.
    #[serde(with = "values::list")]
    pub interface: Vec<String>,
    /// Who holds the bans.
    #[serde(with = "values::text")]
    pub backend: BackendKind,
    /// Name of the IPv4 set; the IPv6 set has a `6` behind it.
    #[serde(with = "values::text")]
    pub set_name: SetName,
    /// Whether sets and rules that are missing are created, at the start and whenever they are gone.
    pub setup: bool,
    /// Drop in the prerouting hook as well.
    pub prerouting: bool,
    /// How XDP programs are attached.
    #[serde(with = "values::text")]
    pub xdp_mode: XdpMode,
    /// Where XDP maps are pinned, so that bans outlive the daemon.
    #[serde(with = "values::text")]
    pub xdp_pin: XdpPin,
    /// How often bans that have run out are removed from XDP maps.
    #[serde(with = "values::duration")]
    pub cleanup_interval: Duration,
    /// How long a host is banned.
    #[serde(with = "values::duration")]
    pub ban_duration: Duration,
    /// Which end of a flow is banned.
    #[serde(with = "values::text")]
    pub ban_target: BanTarget,
    /// Detections of a host within ten minutes that a ban takes.
    pub ban_threshold: usize,
    /// Detections of a host within ten minutes from which on they are written down.
    pub report_threshold: usize,
    /// How long a ban is remembered after its end, so that the host's next ban lasts twice as long; 0 is not at
    /// all.
    #[serde(with = "values::duration")]
    pub ban_escalation: Duration,
    /// Length of the IPv6 prefix that is banned for a host, 128 or 64.
    pub ipv6_prefix: u8,
    /// Most hosts that are banned at once; further ones are refused and counted.
    pub max_bans: usize,
    /// Most hosts that are newly banned within a minute; beyond it hosts are only reported. 0 sets no limit.
    pub max_bans_per_minute: u32,
    /// Lift all bans at the end.
    pub cleanup_on_stop: bool,
    /// Detect and report, but ban nobody.
    pub monitor_only: bool,
    /// Folder in which bans survive a restart with their reasons; empty: they do not.
    pub state_dir: PathBuf,
    /// Unix socket on which the daemon answers commands; empty: it does not.
    pub control_socket: PathBuf,
    /// Networks that the operator answers for; found from the interfaces when empty.
    #[serde(with = "values::list")]
    pub local_networks: Vec<Element>,
    /// Hosts and networks that are never banned.
    #[serde(with = "values::list")]
    pub allow: Vec<Element>,
    /// Ports on which only conclusive evidence counts.
    #[serde(with = "values::list")]
    pub exempt_ports: Vec<u16>,
    /// Kinds of traffic that lead to a ban.
    #[serde(with = "values::list")]
    pub classes: Vec<ClassName>,
    /// Ban the use of SOCKS proxies as such.
    pub block_socks: bool,
    /// Techniques that are switched off.
    #[serde(with = "values::list")]
    pub disable: Vec<TechniqueName>,
    /// Byte signatures that are switched off, by their ids.
    #[serde(with = "values::list")]
    pub disable_signatures: Vec<SignatureId>,
    /// How info-hashes are shown.
    pub info_hash: ShowInfoHash,
    /// How much certainty is demanded.
    pub sensitivity: Sensitivity,
    /// Least entropy of 96 bytes, in bits per byte, for a block to look random.
    #[serde(serialize_with = "values::shortest")]
    pub entropy_threshold: f32,
    /// Least payload, in bytes, that statistical tests look at.
    pub min_payload_size: u16,
    /// The capture sees only one direction of the traffic.
    pub one_sided: bool,
    /// Worker threads; 0 classifies in the capture threads.
    pub workers: usize,
    /// Batches of up to 256 frames that wait for one worker at most.
    pub queue_batches: usize,
    /// Flows that are tracked at most.
    pub max_flows: usize,
    /// Bytes captured of each frame.
    pub snaplen: u32,
    /// Ring buffer of each interface, in bytes.
    pub buffer_size: u32,
    /// Longest time that a packet waits in the kernel's ring.
    #[serde(with = "values::duration")]
    pub capture_delay: Duration,
    /// Settled flows end in the kernel.
    pub early_exit: bool,
    /// File that gets every recognised flow with the beginning of its payload; none when empty.
    pub detection_log: PathBuf,
    /// How detections are written.
    #[serde(with = "values::text")]
    pub detection_log_format: LineFormat,
    /// Write the payload into JSON detections, too.
    pub detection_log_payload: bool,
    /// Size in bytes at which the detection log is rotated.
    pub detection_log_max_size: u64,
    /// Rotated detection logs that are kept.
    pub detection_log_keep: u32,
    /// Folder that gets the packets that led to each ban, a pcapng file for each; none when empty.
    pub evidence_dir: PathBuf,
    /// Size in bytes of one evidence file at most.
    pub evidence_max_size: usize,
    /// Evidence files that are kept.
    pub evidence_keep: usize,
    /// Program with its arguments that is run at each ban; `{address}` and other fields are filled in.
    #[serde(with = "values::list")]
    pub on_ban: Vec<String>,
    /// Program with its arguments that is run at the end of each ban.
    #[serde(with = "values::list")]
    pub on_unban: Vec<String>,
    /// Where bans and their ends are posted to; nowhere when empty.
    pub webhook_url: String,
    /// Header lines of these requests.
    #[serde(with = "values::list")]
    pub webhook_headers: Vec<String>,
    /// Template of their body; an object of all fields when empty.
    pub webhook_body: String,
    /// How long further notices about the same host are left out.
    #[serde(with = "values::duration")]
    pub webhook_cooldown: Duration,
    /// Addresses with ports where the web page, metrics and health are served over HTTP.
    #[serde(with = "values::list")]
    pub metrics_listen: Vec<SocketAddr>,
    /// File with the token that lifts bans on the web page; nobody can when empty.
    pub web_token_file: PathBuf,
    /// What holds on single interfaces, by their names.
    pub interfaces: BTreeMap<String, InterfaceSection>,
    /// Least severity of log lines: error, warn, info, debug or trace.
    pub log_level: LogLevel,
    /// How log lines are written.
    #[serde(with = "values::text")]
    pub log_format: LineFormat,
    /// Whom the daemon becomes when it is started as root.
    #[serde(with = "values::text")]
    pub user: User,
    /// Confine files and system calls of the daemon.
    pub sandbox: bool,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            interface: vec!["auto".to_owned()],
            backend: BackendKind::Ipset,
            set_name: SetName::default(),
            setup: true,
            prerouting: false,
            xdp_mode: XdpMode::default(),
            xdp_pin: XdpPin::default(),
            cleanup_interval: Duration::from_secs(300),
            ban_duration: Duration::from_secs(18_000),
            ban_target: BanTarget::Auto,
            ban_threshold: 1,
            report_threshold: 1,
            ban_escalation: Duration::ZERO,
            ipv6_prefix: 128,
            max_bans: 65_536,
            max_bans_per_minute: 600,
            cleanup_on_stop: false,
            monitor_only: false,
            state_dir: PathBuf::from(STATE_DIR),
            control_socket: PathBuf::from(CONTROL_SOCKET),
            local_networks: Vec::new(),
            allow: Vec::new(),
            exempt_ports: vec![22, 53, 80, 443, 853, 5222, 5269],
            classes: vec![ClassName(Class::BitTorrent), ClassName(Class::DhtMaintenance)],
            block_socks: false,
            disable: Vec::new(),
            disable_signatures: Vec::new(),
            info_hash: ShowInfoHash::Hashed,
            sensitivity: Sensitivity::Balanced,
            entropy_threshold: 5.9,
            min_payload_size: 60,
            one_sided: false,
            workers: 0,
            queue_batches: QUEUE_BATCHES,
            max_flows: 262_144,
            snaplen: 4_352,
            buffer_size: 16 * 1024 * 1024,
            capture_delay: Duration::from_millis(2),
            early_exit: false,
            detection_log: PathBuf::new(),
            detection_log_format: LineFormat::Text,
            detection_log_payload: false,
            detection_log_max_size: 64 * 1024 * 1024,
            detection_log_keep: 5,
            evidence_dir: PathBuf::new(),
            evidence_max_size: 128 * 1024,
            evidence_keep: 500,
            on_ban: Vec::new(),
            on_unban: Vec::new(),
            webhook_url: String::new(),
            webhook_headers: Vec::new(),
            webhook_body: String::new(),
            webhook_cooldown: Duration::from_secs(60),
            metrics_listen: Vec::new(),
            web_token_file: PathBuf::new(),
            interfaces: BTreeMap::new(),
            log_level: LogLevel::Info,
            log_format: LineFormat::Text,
            user: User::Auto,
            sandbox: true,
        }
    }
}

impl Config {
    /// Names of the interfaces to watch, each once: `auto` stands for those of the default route.
    pub fn watched(&self, network: &Network) -> Vec<String> {
        let mut names: Vec<String> = Vec::new();
        for name in &self.interface {
            let found = match name.as_str() {
                "auto" => network.default_interfaces(),
                name => vec![name],
            };
            for name in found {
                if !names.iter().any(|known| known == name) {
                    names.push(name.to_owned());
                }
            }
        }
        names
    }

    /// Who is never banned: whom the operator allows, this machine, and the hosts that it depends on.
    pub fn exemptions(&self, network: &Network) -> Exemptions {
        let mut exemptions = self.allowed();
        for (addresses, why) in [
            (network.own_addresses(), Exemption::Own),
            (network.gateways(), Exemption::Gateway),
            (network.hosts.resolvers.clone(), Exemption::Resolver),
            (network.hosts.ssh_peers.clone(), Exemption::SshPeer),
        ] {
            for address in addresses {
                exemptions.add(Element::host(address), why);
            }
        }
        exemptions
    }

    /// The operator's own exemptions.
    pub fn allowed(&self) -> Exemptions {
        let mut exemptions = Exemptions::default();
        for element in &self.allow {
            exemptions.add(*element, Exemption::Allowed);
        }
        exemptions
    }

    /// What the kernel sets are told; `interfaces` are those that an XDP program is attached to.
    pub fn backend_options(&self, interfaces: Vec<String>) -> backend::Options {
        let defaults = backend::Options::default();
        backend::Options {
            set_name: self.set_name.clone(),
            hooks: Hooks {
                prerouting: self.prerouting,
                ..defaults.hooks
            },
            max_elements: u32::try_from(self.max_bans)
                .ok()
                .and_then(NonZeroU32::new)
                .unwrap_or(defaults.max_elements),
            default_timeout: Timeout::from_duration(self.ban_duration),
            interfaces,
            xdp_mode: self.xdp_mode,
            xdp_pin: self.xdp_pin.clone(),
        }
    }

    /// Where bans are remembered, if they are: bans on paper are not.
    pub fn store(&self) -> Option<Store> {
        let on_paper = self.holder() == BackendKind::DryRun;
        // A namespace of its own ends with the machine and its addresses mean nothing elsewhere: the kernel's sets
        // in it hold the bans as long as it lives.
        let elsewhere = self.state_dir.as_os_str() == STATE_DIR && separate_namespace().is_some();
        (!on_paper && !elsewhere && !self.state_dir.as_os_str().is_empty())
            .then(|| Store::new(&self.state_dir, &self.set_name, self.max_bans))
    }

    /// The control socket, if there is one. At the default place its name bears the number of the network namespace:
    /// a daemon and those who ask it need not know more than their own, whatever rights they have.
    pub fn control_path(&self) -> Option<PathBuf> {
        let path = &self.control_socket;
        match own_namespace().filter(|_| path.as_os_str() == CONTROL_SOCKET) {
            Some(namespace) => Some(path.with_file_name(format!("control-{namespace}.sock"))),
            None => Some(path.clone()).filter(|path| !path.as_os_str().is_empty()),
        }
    }

    /// What the ban manager decides by.
    pub fn ban_policy(&self) -> BanPolicy {
        BanPolicy {
            duration: self.ban_duration,
            max_bans: self.max_bans,
            max_bans_per_minute: self.max_bans_per_minute,
            escalation: self.ban_escalation,
            ipv6_prefix: self.ipv6_prefix,
            setup: self.setup,
        }
    }

    /// What the judge decides by.
    pub fn policy(&self) -> Policy {
        let mut classes: Vec<Class> = self.classes.iter().map(|name| name.0).collect();
        if self.block_socks {
            classes.push(Class::Socks);
        }
        Policy {
            target: self.ban_target,
            classes,
            exempt_ports: self.exempt_ports.clone(),
            sensitivity: self.sensitivity.into(),
            techniques_off: self.disable.iter().map(|technique| technique.0).collect(),
            signatures_off: self.disable_signatures.iter().map(|id| id.0).collect(),
            ban_threshold: self.ban_threshold,
            report_threshold: self.report_threshold,
            one_sided: self.one_sided,
        }
    }

    /// Most flows of one inspection, when `max_flows` is shared among the workers, or among the capture threads
    /// of `interfaces` interfaces when there are no workers.
    pub fn flows_per_worker(&self, interfaces: usize) -> NonZeroU32 {
        let inspections = if self.workers == 0 {
            interfaces
        } else {
            self.workers
        };
        let share = self.max_flows.div_ceil(inspections.max(1));
        u32::try_from(share)
            .ok()
            .and_then(NonZeroU32::new)
            .unwrap_or(NonZeroU32::MAX)
    }

    /// What the detection log is made with, when it is wanted.
    pub fn detection_log(&self) -> Option<DetectionLogOptions> {
        (!self.detection_log.as_os_str().is_empty()).then(|| DetectionLogOptions {
            path: self.detection_log.clone(),
            format: self.detection_log_format,
            payload: self.detection_log_payload,
            info_hashes: InfoHashes::new(self.info_hash),
            rotation: Rotation {
                max_size: self.detection_log_max_size,
                keep: self.detection_log_keep,
            },
        })
    }

    /// What evidence files are made with, when they are wanted.
    pub fn evidence(&self) -> Option<EvidenceOptions> {
        (!self.evidence_dir.as_os_str().is_empty()).then(|| EvidenceOptions {
            folder: self.evidence_dir.clone(),
            max_size: self.evidence_max_size,
            keep: self.evidence_keep,
        })
    }

    /// The programs that are run at bans.
    pub fn programs(&self) -> Programs {
        Programs {
            on_ban: self.on_ban.clone(),
            on_unban: self.on_unban.clone(),
        }
    }

    /// What the web hook is told, when there is one.
    pub fn webhook(&self) -> Option<WebhookOptions> {
        (!self.webhook_url.is_empty()).then(|| WebhookOptions {
            url: self.webhook_url.clone(),
            headers: self.webhook_headers.clone(),
            body: self.webhook_body.clone(),
            cooldown: self.webhook_cooldown,
        })
    }

    /// Batches that wait for one worker at most.
    pub fn queue_length(&self) -> NonZeroUsize {
        NonZeroUsize::new(self.queue_batches).unwrap_or(NonZeroUsize::MIN)
    }

    /// What the inspectors are told.
    pub fn inspector_options(&self) -> btblocker_detectors::Options {
        let mut options = btblocker_detectors::Options::default();
        options.sensitivity = self.sensitivity.into();
        options.entropy_threshold = self.entropy_threshold;
        options.min_payload = self.min_payload_size;
        for technique in &self.disable {
            options.set(technique.0, false);
        }
        options
    }
}

/// What becomes of a host that is to be banned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BanRule {
    /// How long it is banned.
    pub duration: Duration,
    /// It is only reported, while others are banned. When nobody is, the backend is one that keeps bans on paper.
    pub monitored: bool,
}

/// A class of traffic by its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClassName(pub Class);

/// A technique by its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TechniqueName(pub Technique);

/// The id of a byte signature.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SignatureId(pub &'static str);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::capture::LiveOptions;

    #[test]
    fn defaults_are_those_of_the_layers_below() {
        let config = Config::default();
        assert_eq!(config.policy(), Policy::default());
        assert_eq!(
            config.inspector_options(),
            btblocker_detectors::Options::default()
        );
        let live = LiveOptions::default();
        assert_eq!(
            (config.buffer_size, config.snaplen, config.capture_delay),
            (live.ring_bytes, live.snaplen, live.timeout)
        );
    }
}
