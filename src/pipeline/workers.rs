//! Long-running workers on a pool of their own, one queue each.
//!
//! The pool has as many threads as workers and runs nothing else, so a worker that waits for its queue keeps nobody
//! from running.

use super::dispatch::{Dispatcher, HandOver, Outbox, Work};
use super::{Inspection, Published, Settings};
use crate::capture::FrameBatch;
use crate::judge::Report;
use crate::metrics::Board;
use crate::network::Ingress;
use crossbeam_channel::{Receiver, Sender};
use rayon::{ThreadPool, ThreadPoolBuilder};
use std::num::NonZeroUsize;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Why the workers do not run.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PipelineError {
    /// The threads could not be made.
    #[error("starting {workers} worker threads failed")]
    Threads {
        /// How many were wanted.
        workers: usize,
        /// Why not.
        #[source]
        source: rayon::ThreadPoolBuildError,
    },
    /// A worker stopped by a programming error; its flows are not inspected any more.
    #[error("worker {worker} panicked: {message}")]
    Panicked {
        /// Its number, from 0.
        worker: usize,
        /// What it said.
        message: String,
    },
}

/// The workers, or the wish to do without.
pub struct Workers {
    settings: Settings,
    queue_batches: NonZeroUsize,
    ingress: Published<Ingress>,
    reports: Sender<Report>,
    board: Board,
    queues: Vec<Sender<Work>>,
    /// How workers ended: in order when their queue was closed and is empty.
    pub(super) exits: Receiver<Result<(), PipelineError>>,
    pool: Option<ThreadPool>,
}

impl Workers {
    /// Starts `count` workers, each with a queue of `queue_batches` batches; 0: every [`Dispatcher`] inspects in its
    /// own thread. Reports go to `reports`, counters to `board`.
    ///
    /// # Errors
    /// When the threads cannot be made.
    pub fn start(
        count: usize,
        queue_batches: NonZeroUsize,
        settings: Settings,
        ingress: Published<Ingress>,
        reports: Sender<Report>,
        board: Board,
    ) -> Result<Self, PipelineError> {
        let (exit, exits) = crossbeam_channel::bounded(count);
        let mut queues = Vec::with_capacity(count);
        let pool = match count {
            0 => None,
            _ => Some(pool(count)?),
        };
        for (worker, pool) in (0..count).zip(pool.iter().cycle()) {
            let (queue, work) = crossbeam_channel::bounded(queue_batches.get());
            queues.push(queue);
            let mut inspection = Inspection::new(&settings, ingress.reader());
            let outbox = Outbox {
                reports: reports.clone(),
                shared: board.register(),
            };
            let exit = exit.clone();
            pool.spawn(move || {
                run(worker, &work, &exit, |batch| {
                    outbox.inspect(&mut inspection, batch)
                });
            });
        }
        Ok(Self {
            settings,
            queue_batches,
            ingress,
            reports,
            board,
            queues,
            exits,
            pool,
        })
    }

    /// One for each capture thread.
    pub fn dispatcher(&self) -> Dispatcher {
        let shared = self.board.register();
        if self.queues.is_empty() {
            let outbox = Outbox {
                reports: self.reports.clone(),
                shared,
            };
            return Dispatcher::inline(Inspection::new(&self.settings, self.ingress.reader()), outbox);
        }
        let hasher = self.settings.hasher.clone();
        Dispatcher::hand_over(HandOver::new(hasher, &self.queues, self.queue_batches, shared))
    }

    /// Batches that wait for workers.
    pub fn waiting(&self) -> usize {
        self.queues.iter().map(Sender::len).sum()
    }

    /// Whether every worker still works. When one does not, the daemon must stop.
    ///
    /// # Errors
    /// When a worker has panicked, once.
    pub fn check(&self) -> Result<(), PipelineError> {
        self.exits.try_recv().unwrap_or(Ok(()))
    }

    /// Waits until every queue is empty and every worker has ended. All dispatchers must be gone: as long as one
    /// lives, its queue may get more.
    ///
    /// # Errors
    /// When a worker has panicked and [`Workers::check`] has not said so.
    pub fn finish(self) -> Result<(), PipelineError> {
        let Self {
            queues, exits, pool, ..
        } = self;
        drop(queues);
        let mut outcome = Ok(());
        // The channel closes when the last worker has ended.
        for exit in &exits {
            outcome = outcome.and(exit);
        }
        drop(pool);
        outcome
    }
}

fn pool(count: usize) -> Result<ThreadPool, PipelineError> {
    ThreadPoolBuilder::new()
        .num_threads(count)
        .thread_name(|worker| format!("inspect-{worker}"))
        .build()
        .map_err(|source| PipelineError::Threads {
            workers: count,
            source,
        })
}

/// Works until the queue is closed and empty, or `step` panics.
pub(super) fn run(
    worker: usize,
    work: &Receiver<Work>,
    exit: &Sender<Result<(), PipelineError>>,
    mut step: impl FnMut(&FrameBatch),
) {
    let outcome = catch_unwind(AssertUnwindSafe(|| {
        for Work { mut batch, home } in work {
            step(&batch);
            batch.clear();
            // Its dispatcher may be gone; then nobody needs the batch.
            let _ = home.try_send(batch);
        }
    }));
    let outcome = outcome.map_err(|payload| {
        let text = payload.downcast_ref::<&str>().map(ToString::to_string);
        let text = text.or_else(|| payload.downcast_ref::<String>().cloned());
        PipelineError::Panicked {
            worker,
            message: text.unwrap_or_else(|| "no message".to_owned()),
        }
    });
    // One place per worker: never full. Without a receiver the daemon is past caring.
    let _ = exit.try_send(outcome);
}
