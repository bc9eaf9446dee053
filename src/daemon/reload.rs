//! The configuration is read again while the daemon runs.

use log::{error, info, warn};

use super::Daemon;
use crate::config;
use crate::network::Hosts;

impl Daemon {
    /// Takes over what can change. A configuration that cannot be read changes nothing.
    pub(super) fn reload(&mut self) {
        let loaded = match config::load(&self.overrides) {
            Ok(loaded) => loaded,
            Err(error) => {
                error!("the configuration was not read again, the former one stays in force: {error}");
                // Whoever moved the detection log away still wants a new one.
                self.tell.reload(&self.config);
                return;
            }
        };
        if let Some(name) = loaded.config.stray_section(&self.interfaces) {
            error!(
                "the configuration was not read again, the former one stays in force: [interfaces.{name}] in it is not \
                 watched"
            );
            self.tell.reload(&self.config);
            return;
        }
        let reloaded = self.config.reloaded(&loaded.config);
        self.config = reloaded.config;
        log::set_max_level(self.config.log_level.into());
        self.tuning.publish(self.config.tuning(&self.interfaces));
        self.judge.set_policies(self.config.policies(&self.interfaces));
        self.ban_rules = self.config.ban_rules(&self.interfaces);
        self.manager.set_duration(self.config.ban_duration);
        self.manager
            .set_max_bans_per_minute(self.config.max_bans_per_minute);
        self.tell.reload(&self.config);
        self.network.follow(Hosts::read());
        self.exempt();
        match reloaded.changed.as_slice() {
            [] => info!("configuration read again: nothing has changed"),
            changed => info!("configuration read again, changed: {}", changed.join(", ")),
        }
        if !reloaded.waiting.is_empty() {
            warn!("needs a restart: {}", reloaded.waiting.join(", "));
            if reloaded.waiting.iter().any(|key| key == "detection_log") {
                let now = self.config.detection_log.display();
                warn!(
                    "detection_log: while the daemon runs, it is neither begun nor ended, and moves only within its folder; \
                     until the restart it stays \"{now}\""
                );
            }
        }
    }
}
