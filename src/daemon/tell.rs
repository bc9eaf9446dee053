//! Who is told what: every verdict and every end of a ban passes here on its way to the sinks.

use std::sync::Arc;

use crate::config::Config;
use crate::event::{SampleSender, Samples, samples};
use crate::judge::FlowVerdict;
use crate::sink::{Detection, DetectionLog};

/// Buffers for the beginnings of payloads, 600 bytes each. Half of them wait for verdicts at most.
const SAMPLES: usize = 2_048;

/// The sinks of the judge's thread.
pub(super) struct Tell {
    interfaces: Vec<Arc<str>>,
    detections: Option<(DetectionLog, Samples)>,
}

impl Tell {
    /// Starts the sinks that the configuration asks for, and says where the packet path sends its samples.
    pub(super) fn start(
        config: &Config,
        interfaces: &[String],
    ) -> anyhow::Result<(Self, Option<SampleSender>)> {
        let (mut detections, mut sender) = (None, None);
        if let Some(options) = config.detection_log() {
            let (send, samples) = samples(SAMPLES);
            let log = DetectionLog::start(options, samples.home())?;
            (detections, sender) = (Some((log, samples)), Some(send));
        }
        let tell = Self {
            interfaces: interfaces.iter().map(|name| name.as_str().into()).collect(),
            detections,
        };
        Ok((tell, sender))
    }

    /// Name of an interface by its number.
    pub(super) fn interface(&self, number: u16) -> Arc<str> {
        let name = self.interfaces.get(usize::from(number));
        name.map_or_else(|| "?".into(), Arc::clone)
    }

    /// To be called before each report is judged.
    pub(super) fn before_report(&mut self) {
        if let Some((_, samples)) = &mut self.detections {
            samples.hear();
        }
    }

    /// A flow is judged BitTorrent.
    pub(super) fn flow(&mut self, verdict: &FlowVerdict) {
        let interface = self.interface(verdict.interface);
        if let Some((log, samples)) = &mut self.detections {
            log.write(Detection {
                verdict: *verdict,
                interface,
                sample: samples.take(&verdict.flow),
            });
        }
    }

    /// Writes what waits. To be called after the packet path has ended.
    pub(super) fn finish(self) {
        if let Some((log, samples)) = self.detections {
            let (missing, bare) = (log.dropped(), samples.dropped());
            log.finish();
            if missing > 0 || bare > 0 {
                log::warn!("detection log: {missing} detections were not written, {bare} payloads not kept");
            }
        }
    }
}
