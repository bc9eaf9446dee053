//! The threads that tell programs and web hooks, each with a queue of its own.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender};

use super::command::Programs;
use super::notice::Notice;
use super::webhook::{Webhook, WebhookOptions};

/// Notices that wait for each thread at most.
const QUEUE: usize = 1_024;
/// How long the end of the program waits for notices that are under way.
const FAREWELL: Duration = Duration::from_secs(3);

/// The ways to everybody who is told.
#[derive(Debug)]
pub struct Notifier {
    ways: Vec<Way>,
    dropped: Arc<AtomicU64>,
}

/// The way to one thread.
#[derive(Debug)]
struct Way {
    queue: Sender<Notice>,
    /// Held by the thread until it ends.
    ended: Receiver<()>,
    /// Dropped to say that the end is near.
    closing: Sender<()>,
}

impl Notifier {
    /// Starts what is wanted.
    ///
    /// # Errors
    /// When there is no thread to be had.
    pub fn start(programs: Programs, webhook: Option<WebhookOptions>) -> std::io::Result<Self> {
        let dropped = Arc::<AtomicU64>::default();
        let mut ways = Vec::new();
        if programs != Programs::default() {
            ways.push(way(
                "programs",
                move |notice, _| {
                    programs.run(notice);
                    true
                },
                &dropped,
            )?);
        }
        if let Some(options) = webhook {
            let mut webhook = Webhook::new(options);
            ways.push(way(
                "webhook",
                move |notice, closing| webhook.send(notice, closing),
                &dropped,
            )?);
        }
        Ok(Self { ways, dropped })
    }

    /// Whether there is anybody to tell.
    pub fn is_wanted(&self) -> bool {
        !self.ways.is_empty()
    }

    /// Tells everybody; drops the notice for those who are too far behind.
    pub fn tell(&self, notice: &Notice) {
        for way in &self.ways {
            if way.queue.try_send(notice.clone()).is_err() {
                self.dropped.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    /// Notices that did not reach somebody: the queue was full, or the web hook refused.
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    /// Waits a short time for what is under way.
    pub fn finish(self) {
        for way in self.ways {
            drop((way.queue, way.closing));
            let _ = way.ended.recv_timeout(FAREWELL);
        }
    }
}

fn way(
    name: &str,
    mut deliver: impl FnMut(&Notice, &Receiver<()>) -> bool + Send + 'static,
    dropped: &Arc<AtomicU64>,
) -> std::io::Result<Way> {
    let (queue, notices) = crossbeam_channel::bounded::<Notice>(QUEUE);
    let (end, ended) = crossbeam_channel::bounded(0);
    let (closing, close) = crossbeam_channel::bounded(0);
    let dropped = Arc::clone(dropped);
    std::thread::Builder::new().name(name.to_owned()).spawn(move || {
        let _end: Sender<()> = end;
        for notice in notices {
            if !deliver(&notice, &close) {
                dropped.fetch_add(1, Ordering::Relaxed);
            }
        }
    })?;
    Ok(Way {
        queue,
        ended,
        closing,
    })
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    #[test]
    fn who_never_answers_costs_notices_only() {
        let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let webhook = WebhookOptions {
            url: format!("http://{}/", silent.local_addr().unwrap()),
            headers: Vec::new(),
            body: String::new(),
            cooldown: Duration::ZERO,
        };
        let notifier = Notifier::start(Programs::default(), Some(webhook)).unwrap();
        let begun = Instant::now();
        for number in 0..QUEUE + 100 {
            notifier.tell(&Notice {
                event: "ban",
                time: String::new(),
                address: number.to_string(),
                interface: String::new(),
                technique: String::new(),
                client: String::new(),
                reason: String::new(),
            });
        }
        // One may be under way.
        assert!((99..=100).contains(&notifier.dropped()), "{}", notifier.dropped());
        notifier.finish();
        assert!(
            begun.elapsed() < FAREWELL + Duration::from_secs(5),
            "{:?}",
            begun.elapsed()
        );
    }
}
