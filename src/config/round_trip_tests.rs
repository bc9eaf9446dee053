//! Whatever a configuration holds, written as a file and read again it is the same.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use figment::Figment;
use figment::providers::{Format, Toml};
use proptest::prelude::*;

use super::interfaces::{InterfaceSection, Ports, Target, Time};
use super::{Config, Sensitivity, ShowInfoHash};
use crate::backend::BackendKind;
use crate::ban::Element;
use crate::judge::BanTarget;

fn time() -> impl Strategy<Value = Duration> {
    let unit = prop::sample::select(vec![1_u64, 1_000, 60_000, 3_600_000, 86_400_000]);
    (0_u64..1_000_000, unit).prop_map(|(number, unit)| Duration::from_millis(number * unit))
}

fn element() -> impl Strategy<Value = Element> {
    (any::<IpAddr>(), 0_u8..=128).prop_map(|(address, length)| {
        let address = address.to_canonical();
        let most = if address.is_ipv4() { 32 } else { 128 };
        format!("{address}/{}", length.clamp(1, most)).parse().unwrap()
    })
}

fn target() -> impl Strategy<Value = BanTarget> {
    let all = ["auto", "source", "client", "remote", "both"];
    prop::sample::select(all.to_vec()).prop_map(|name| name.parse().unwrap())
}

fn section() -> impl Strategy<Value = InterfaceSection> {
    let ports = prop::collection::vec(any::<u16>(), 0..4);
    let parts = (
        prop::option::of(target()),
        prop::option::of(ports),
        prop::option::of(time()),
        any::<Option<bool>>(),
    );
    parts.prop_map(
        |(ban_target, exempt_ports, ban_duration, monitor_only)| InterfaceSection {
            sensitivity: monitor_only.map(|_| Sensitivity::Aggressive),
            ban_target: ban_target.map(Target),
            exempt_ports: exempt_ports.map(Ports),
            monitor_only,
            ban_duration: ban_duration.map(Time),
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_is_written_is_read_again(
        times in (time(), time(), time()),
        elements in (prop::collection::vec(element(), 0..5), prop::collection::vec(element(), 0..5)),
        ports in prop::collection::vec(any::<u16>(), 0..5),
        listen in prop::collection::vec(any::<(IpAddr, u16)>(), 0..3),
        // Quotes, commas, line feeds and any other character.
        texts in (any::<String>(), any::<String>(), prop::collection::vec(any::<String>(), 0..4)),
        numbers in (0..usize::MAX >> 1, any::<u32>(), 0..u64::MAX >> 1, any::<u8>(), any::<u16>()),
        entropy in 0.0_f32..8.0,
        switches in any::<[bool; 4]>(),
        (target, sections) in (target(), prop::collection::btree_map("[a-z0-9.@:_-]{1,15}", section(), 0..3)),
    ) {
        let config = Config {
            backend: BackendKind::Nftables,
            ban_duration: times.0,
            ban_escalation: times.1,
            capture_delay: times.2,
            local_networks: elements.0,
            allow: elements.1,
            exempt_ports: ports,
            metrics_listen: listen.into_iter().map(SocketAddr::from).collect(),
            webhook_body: texts.0,
            detection_log: texts.1.into(),
            on_ban: texts.2,
            max_bans: numbers.0,
            snaplen: numbers.1,
            detection_log_max_size: numbers.2,
            ipv6_prefix: numbers.3,
            min_payload_size: numbers.4,
            entropy_threshold: entropy,
            setup: switches[0],
            one_sided: switches[1],
            early_exit: switches[2],
            info_hash: if switches[3] { ShowInfoHash::Plain } else { ShowInfoHash::Hashed },
            ban_target: target,
            interfaces: sections,
            ..Config::default()
        };
        let text = toml::to_string(&config).unwrap();
        let back: Config = Figment::from(Toml::string(&text)).extract().unwrap();
        prop_assert_eq!(back, config);
    }
}
