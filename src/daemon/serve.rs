//! What is served over HTTP: the web page, `/metrics` for Prometheus and `/healthz`.

use std::sync::{Arc, OnceLock};
use std::time::{Instant, SystemTime};

use anyhow::Context;
use log::info;

use crate::capture::KernelCounters;
use crate::config::Config;
use crate::metrics::{Board, CONTENT_TYPE, DaemonCounters, Snapshot, exposition};
use crate::sink::{HttpRequest, Method, Page, Pages, Status, serve};

use super::web::Web;

/// Seconds without a turn of the judge's thread after which the program is not healthy: it turns twice a second.
const HEARTBEAT: u64 = 10;

/// Where the served numbers come from.
pub(super) struct Served {
    pub(super) board: Board,
    pub(super) counts: Arc<DaemonCounters>,
    pub(super) backend: &'static str,
    pub(super) start: Instant,
    /// Set when the captures have begun.
    pub(super) interfaces: OnceLock<Vec<(String, Arc<KernelCounters>)>>,
}

/// Begins to serve where the configuration says so.
pub(super) fn start(config: &Config, served: &Arc<Served>, web: Web) -> anyhow::Result<()> {
    let (began, served) = (SystemTime::now(), Arc::clone(served));
    let started = began.duration_since(SystemTime::UNIX_EPOCH);
    let started = started.unwrap_or_default().as_secs();
    let pages: Pages = Arc::new(move |request| served.page(request, started).or_else(|| web.page(request)));
    for address in serve(&config.metrics_listen, &pages).context("metrics_listen")? {
        info!("the web page is served at http://{address}/, metrics at http://{address}/metrics");
    }
    Ok(())
}

impl Served {
    fn page(&self, request: &HttpRequest<'_>, started: u64) -> Option<Page> {
        Some(match (request.method, request.path) {
            (Method::Get, "/metrics") => Page::new(Status::Ok, CONTENT_TYPE, self.metrics(started)),
            (Method::Get, "/healthz") => self.health(),
            (Method::Post, "/metrics" | "/healthz") => {
                Page::text(Status::MethodNotAllowed, "this can only be read")
            }
            _ => return None,
        })
    }

    fn metrics(&self, started: u64) -> String {
        let interfaces: Vec<_> = self
            .interfaces
            .get()
            .into_iter()
            .flatten()
            .map(|(name, counters)| (name.clone(), counters.stats()))
            .collect();
        exposition(&Snapshot {
            version: env!("VERSION_WITH_COMMIT"),
            backend: self.backend,
            started,
            packets: self.board.total(),
            daemon: &self.counts,
            interfaces: &interfaces,
        })
    }

    fn health(&self) -> Page {
        let silent = self
            .start
            .elapsed()
            .as_secs()
            .saturating_sub(self.counts.heartbeat.get());
        match (self.interfaces.get(), silent) {
            (None, _) => Page::text(Status::Unavailable, "starting"),
            (Some(_), HEARTBEAT..) => {
                let trouble = format!("the judge's thread is silent for {silent} s");
                Page::text(Status::Unavailable, &trouble)
            }
            (Some(_), _) => Page::text(Status::Ok, "ok"),
        }
    }
}
