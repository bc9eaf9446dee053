//! What of the configuration decides on the daemon's rights.

use std::path::{Path, PathBuf};

use super::{CONTROL_SOCKET, Config, DEFAULT_FILE, Overrides, STATE_DIR};
use crate::backend::{BackendKind, XdpPin};
use crate::sandbox::{Files, Need, Options, Place, Use};

impl Config {
    /// What the daemon may do once it runs; `overrides` know the configuration's file.
    pub fn rights(&self, overrides: &Overrides) -> Options {
        let on_paper = self.holder() == BackendKind::DryRun;
        let xdp = !on_paper && self.backend == BackendKind::Xdp;
        let mut places = Vec::new();
        let mut written = Vec::new();
        let mut place = |path: &Path, need| {
            places.push(Place {
                path: path.to_owned(),
                need,
            });
        };
        let own_if = |is_default| if is_default { Need::Own } else { Need::Folder };
        if let Some(store) = self.store() {
            place(&self.state_dir, own_if(self.state_dir.as_os_str() == STATE_DIR));
            place(store.path(), Need::File);
            written.push(self.state_dir.clone());
        }
        if let Some(folder) = self.control_path().as_deref().and_then(Path::parent) {
            place(folder, own_if(Some(folder) == Path::new(CONTROL_SOCKET).parent()));
            written.push(folder.to_owned());
        }
        if let Some(folder) = self.detection_log.parent() {
            place(&self.detection_log, Need::File);
            // A name alone lies in the working directory.
            let here = folder.as_os_str().is_empty();
            written.push(if here {
                PathBuf::from(".")
            } else {
                folder.to_owned()
            });
        }
        if !self.evidence_dir.as_os_str().is_empty() {
            place(&self.evidence_dir, Need::Folder);
            written.push(self.evidence_dir.clone());
        }
        let pins = match &self.xdp_pin {
            XdpPin::Off => None,
            XdpPin::Auto => Some(Path::new(XdpPin::DEFAULT_DIR)),
            XdpPin::At(folder) => Some(folder.as_path()),
        };
        if let Some(pins) = pins.filter(|_| xdp) {
            place(pins, Need::File);
            written.extend(pins.parent().map(Path::to_owned));
        }
        let file = overrides.config.clone().unwrap_or_else(|| DEFAULT_FILE.into());
        place(&file, Need::Read);
        for program in [&self.on_ban, &self.on_unban]
            .into_iter()
            .filter_map(|words| words.first())
        {
            if program.contains('/') {
                place(Path::new(program), Need::Run);
            }
        }
        Options {
            user: self.user.clone(),
            confine: self.sandbox,
            net_admin: !on_paper,
            places,
            files: Files {
                written,
                // The web page's token is read once, before.
                read: vec![file],
                listen: self
                    .metrics_listen
                    .iter()
                    .map(std::net::SocketAddr::port)
                    .collect(),
                connect: self.webhook().is_some(),
                list_all: xdp,
            },
            uses: Use {
                programs: !(self.on_ban.is_empty() && self.on_unban.is_empty()),
                bpf: xdp,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rights_follow_the_configuration() {
        let plain = Config {
            state_dir: "/srv/bans".into(),
            control_socket: "/srv/run/socket".into(),
            ..Config::default()
        };
        let rights = plain.rights(&Overrides::default());
        assert!(rights.net_admin && rights.confine && rights.uses == Use::default() && !rights.files.connect);
        assert_eq!(
            rights.files.written,
            [Path::new("/srv/bans"), Path::new("/srv/run")]
        );
        assert_eq!(rights.files.read, [Path::new(DEFAULT_FILE)]);
        let more = Config {
            sandbox: false,
            backend: BackendKind::Xdp,
            detection_log: "bt.log".into(),
            evidence_dir: "/srv/evidence".into(),
            on_unban: vec!["/usr/bin/tell".to_owned()],
            webhook_url: "http://192.0.2.1/".to_owned(),
            metrics_listen: vec!["[::1]:9475".parse().unwrap()],
            ..plain.clone()
        };
        let rights = more.rights(&Overrides::default());
        assert!(!rights.confine && rights.uses.bpf && rights.uses.programs && rights.files.connect);
        assert_eq!(rights.files.listen, [9_475]);
        assert_eq!(
            rights.files.written[2..],
            [".", "/srv/evidence", "/sys/fs/bpf"].map(Path::new)
        );
        assert!(rights.places.iter().any(|place| place.need == Need::Run));
        let paper = Config {
            monitor_only: true,
            ..more
        };
        let rights = paper.rights(&Overrides::default());
        assert!(!rights.net_admin && !rights.uses.bpf);
        assert!(!rights.files.written.contains(&"/srv/bans".into()));
    }
}
