//! What is typed on the command line, one flag per key of the configuration.

use std::path::PathBuf;

use serde::Serialize;

use super::values;

/// What is typed on the command line; every value may be absent.
#[derive(Clone, Debug, Default, clap::Args, Serialize)]
pub struct Overrides {
    /// Configuration file [default: /etc/btblocker/btblocker.toml, if it exists]
    #[arg(long, value_name = "FILE", global = true)]
    #[serde(skip)]
    pub config: Option<PathBuf>,

    /// Interfaces to watch, separated by commas; "auto" is the interface of the default route [default: auto]
    #[arg(short, long, value_name = "NAMES", global = true)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub interface: Option<String>,

    /// Who holds the bans: ipset, nftables, xdp or dry-run [default: ipset]
    #[arg(long, value_name = "NAME", global = true)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub backend: Option<String>,

    /// Name of the IPv4 set; the IPv6 set has a "6" behind it [default: torrent_block]
    #[arg(long, value_name = "NAME", global = true)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub set_name: Option<String>,

    /// Fail when sets or rules are missing instead of creating them
    #[arg(long, global = true, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL", hide_possible_values = true)]
    #[serde(
        rename = "setup",
        skip_serializing_if = "Option::is_none",
        serialize_with = "values::negated"
    )]
    pub no_setup: Option<bool>,

    /// Drop in the prerouting hook as well
    #[arg(long, global = true, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL", hide_possible_values = true)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prerouting: Option<bool>,

    /// How XDP programs are attached: auto, native, generic or offload [default: auto]
    #[arg(long, value_name = "MODE", global = true)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub xdp_mode: Option<String>,

    /// Where XDP maps are pinned: auto, off or a folder on a bpffs [default: auto]
    #[arg(long, value_name = "WHERE", global = true)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub xdp_pin: Option<String>,

    /// How often bans that have run out are removed from XDP maps [default: 5m]
    #[arg(long, value_name = "TIME", global = true)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cleanup_interval: Option<String>,

    /// How long a host is banned: seconds, or with a unit such as 30m or 5h [default: 5h]
    #[arg(long, value_name = "TIME", global = true)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ban_duration: Option<String>,

    /// Which end of a BitTorrent flow is banned: auto (the local one), source, client, remote, both [default: auto]
    #[arg(long, value_name = "WHO", global = true)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ban_target: Option<String>,

    /// Detections of a host within ten minutes that a ban takes [default: 1]
    #[arg(long, value_name = "N", global = true)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ban_threshold: Option<usize>,

    /// Detections of a host within ten minutes from which on they are logged [default: 1]
    #[arg(long, value_name = "N", global = true)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub report_threshold: Option<usize>,

    /// Most hosts that are banned at once [default: 65536]
    #[arg(long, value_name = "N", global = true)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_bans: Option<usize>,

    /// How long a ban is remembered after its end, so that the next one lasts twice as long [default: 0]
    #[arg(long, value_name = "TIME", global = true)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ban_escalation: Option<String>,

    /// Length of the IPv6 prefix that is banned for a host: 128 or 64 [default: 128]
    #[arg(long, value_name = "BITS", global = true)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ipv6_prefix: Option<u8>,

    /// Most hosts that are newly banned within a minute; beyond it hosts are only reported [default: 600]
    #[arg(long, value_name = "N", global = true)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_bans_per_minute: Option<u32>,

    /// Lift all bans when the program stops
    #[arg(long, global = true, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL", hide_possible_values = true)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cleanup_on_stop: Option<bool>,

    /// Detect and report, but ban nobody
    #[arg(long, visible_alias = "dry-run", global = true, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL", hide_possible_values = true)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub monitor_only: Option<bool>,

    /// Folder in which bans survive a restart with their reasons; "" turns that off [default: /var/lib/btblocker]
    #[arg(long, value_name = "FOLDER", global = true)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state_dir: Option<String>,

    /// Unix socket on which the daemon answers commands; "" turns that off [default: /run/btblocker/control.sock]
    #[arg(long, value_name = "SOCKET", global = true)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub control_socket: Option<String>,

    /// Networks that you answer for, separated by commas [default: found from the interfaces]
    #[arg(long, visible_alias = "local-network", value_name = "NETWORKS", global = true)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub local_networks: Option<String>,

    /// Hosts and networks that are never banned, separated by commas
    #[arg(long, value_name = "NETWORKS", global = true)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub allow: Option<String>,

    /// Ports on which only conclusive evidence counts [default: 22,53,80,443,853,5222,5269]
    #[arg(long, value_name = "PORTS", global = true)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exempt_ports: Option<String>,

    /// Kinds of traffic that lead to a ban [default: bittorrent,dht-maintenance]
    #[arg(long, value_name = "CLASSES", global = true)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub classes: Option<String>,

    /// Ban the use of SOCKS proxies as such
    #[arg(long, global = true, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL", hide_possible_values = true)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub block_socks: Option<bool>,

    /// Techniques to switch off, separated by commas
    #[arg(long, value_name = "TECHNIQUES", global = true)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub disable: Option<String>,

    /// Byte signatures to switch off, by their ids, separated by commas
    #[arg(long, value_name = "IDS", global = true)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub disable_signatures: Option<String>,

    /// How info-hashes are shown: hashed (with a salt of this machine), plain or none [default: hashed]
    #[arg(long, value_name = "HOW", global = true)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub info_hash: Option<String>,

    /// How much certainty is demanded: strict, balanced or aggressive [default: balanced]
    #[arg(long, value_name = "LEVEL", global = true)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sensitivity: Option<String>,

    /// Least entropy of 96 bytes, in bits per byte, for a block to look random [default: 5.9]
    #[arg(long, value_name = "BITS", global = true)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub entropy_threshold: Option<f32>,

    /// Least payload, in bytes, that statistical tests look at [default: 60]
    #[arg(long, value_name = "BYTES", global = true)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min_payload_size: Option<u16>,

    /// The capture sees only one direction of the traffic
    #[arg(long, global = true, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL", hide_possible_values = true)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub one_sided: Option<bool>,

    /// Worker threads; 0 classifies in the capture threads [default: 0]
    #[arg(long, value_name = "N", global = true)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub workers: Option<usize>,

    /// Batches that wait for one worker at most [default: 64]
    #[arg(long, value_name = "N", global = true)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub queue_batches: Option<usize>,

    /// Flows that are tracked at most [default: 262144]
    #[arg(long, value_name = "N", global = true)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_flows: Option<usize>,

    /// Bytes captured of each frame [default: 4352]
    #[arg(long, value_name = "BYTES", global = true)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub snaplen: Option<u32>,

    /// Ring buffer of each interface, in bytes [default: 16777216]
    #[arg(long, value_name = "BYTES", global = true)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub buffer_size: Option<u32>,

    /// Longest time that a packet waits in the kernel's ring [default: 2ms]
    #[arg(long, value_name = "TIME", global = true)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub capture_delay: Option<String>,

    /// Have packets of settled flows end in the kernel; the start needs CAP_BPF
    #[arg(long, global = true, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL", hide_possible_values = true)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub early_exit: Option<bool>,

    /// File that gets every recognised flow with the beginning of its payload
    #[arg(long, value_name = "FILE", global = true)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detection_log: Option<PathBuf>,

    /// How detections are written: text or json [default: text]
    #[arg(long, value_name = "FORMAT", global = true)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detection_log_format: Option<String>,

    /// Write the payload into JSON detections, too
    #[arg(long, global = true, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL", hide_possible_values = true)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detection_log_payload: Option<bool>,

    /// Size in bytes at which the detection log is rotated [default: 67108864]
    #[arg(long, value_name = "BYTES", global = true)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detection_log_max_size: Option<u64>,

    /// Rotated detection logs that are kept [default: 5]
    #[arg(long, value_name = "N", global = true)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detection_log_keep: Option<u32>,

    /// Folder that gets the packets that led to each ban, a pcapng file for each
    #[arg(long, value_name = "FOLDER", global = true)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub evidence_dir: Option<String>,

    /// Size in bytes of one evidence file at most [default: 131072]
    #[arg(long, value_name = "BYTES", global = true)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub evidence_max_size: Option<usize>,

    /// Evidence files that are kept [default: 500]
    #[arg(long, value_name = "N", global = true)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub evidence_keep: Option<usize>,

    /// Program with its arguments, separated by commas, that is run at each ban
    #[arg(long, value_name = "COMMAND", global = true)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub on_ban: Option<String>,

    /// Program with its arguments, separated by commas, that is run at the end of each ban
    #[arg(long, value_name = "COMMAND", global = true)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub on_unban: Option<String>,

    /// Where bans and their ends are posted to: an http or https address
    #[arg(long, value_name = "URL", global = true)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub webhook_url: Option<String>,

    /// Header lines of these requests, separated by commas
    #[arg(long, value_name = "HEADERS", global = true)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub webhook_headers: Option<String>,

    /// Template of their body, with fields such as {address}
    #[arg(long, value_name = "TEMPLATE", global = true)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub webhook_body: Option<String>,

    /// How long further notices about the same host are left out [default: 1m]
    #[arg(long, value_name = "TIME", global = true)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub webhook_cooldown: Option<String>,

    /// Addresses with ports, separated by commas, where the web page, metrics and health are served over HTTP
    #[arg(long, value_name = "ADDRESSES", global = true)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub metrics_listen: Option<String>,

    /// File with the token that lifts bans on the web page
    #[arg(long, value_name = "FILE", global = true)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub web_token_file: Option<PathBuf>,

    /// Least severity of log lines: error, warn, info, debug or trace [default: info]
    #[arg(long, value_name = "LEVEL", global = true)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub log_level: Option<String>,

    /// How log lines are written: text or json [default: text]
    #[arg(long, value_name = "FORMAT", global = true)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub log_format: Option<String>,

    /// User that the daemon becomes when it is started as root: auto, root, or a name or number [default: auto]
    #[arg(long, value_name = "NAME", global = true)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,

    /// Confine the files and system calls of the daemon [default: true]
    #[arg(long, global = true, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL", hide_possible_values = true)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sandbox: Option<bool>,
}
