//! The way of a request to the daemon and of its answer back.

use std::time::Duration;

use crossbeam_channel::{Receiver, Sender};

use super::{Reply, Request};

/// Requests that wait for the daemon at most.
const WAITING: usize = 16;

/// A request, and where its answer goes. The answer is taken without waiting.
#[derive(Debug)]
pub struct Asked {
    /// What is asked.
    pub request: Request,
    /// Room for the answer.
    pub reply: Sender<Reply>,
}

/// Takes requests to the daemon. All clones share one bounded queue.
#[derive(Clone, Debug)]
pub struct Requests(Sender<Asked>);

impl Requests {
    /// The two ends of a queue: for those who ask, and for the daemon.
    pub fn queue() -> (Self, Receiver<Asked>) {
        let (sender, asked) = crossbeam_channel::bounded(WAITING);
        (Self(sender), asked)
    }

    /// Asks, and waits for room in the queue and for the answer, each for `patience` at most. A daemon that is too
    /// busy refuses.
    pub fn ask(&self, request: Request, patience: Duration) -> Reply {
        let (reply, answered) = crossbeam_channel::bounded(1);
        let busy = || Reply::Refused("the daemon is too busy to answer".to_owned());
        match self.0.send_timeout(Asked { request, reply }, patience) {
            Ok(()) => answered.recv_timeout(patience).unwrap_or_else(|_| busy()),
            Err(_) => busy(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_daemon_that_is_busy_refuses_and_one_that_is_gone_does_too() {
        let (requests, asked) = Requests::queue();
        let ask = || requests.ask(Request::Bans {}, Duration::from_millis(1));
        for _ in 0..=WAITING {
            assert!(matches!(ask(), Reply::Refused(_)));
        }
        assert_eq!(asked.len(), WAITING);
        drop(asked);
        assert!(matches!(ask(), Reply::Refused(_)));
    }
}
