//! One set through the crate `ipset` and libipset.
//!
//! Promise: says whether a command took effect, never why it did not: libipset explains itself in English
//! text, so the caller asks the kernel again with a message of its own and gets a number.

use std::sync::{Mutex, MutexGuard, PoisonError};

use ipset::types::{AddOption, EnvOption, HashNet, NetDataType};

use crate::backend::Family;
use crate::ban::{Change, Timeout};

/// libipset keeps its set types and a cache of set names in lists of the process that it does not lock.
static LIBRARY: Mutex<()> = Mutex::new(());

/// A session that remembers the set's name.
pub(super) struct Session {
    name: String,
    family: Family,
    inner: Option<ipset::Session<HashNet>>,
}

impl Session {
    /// Opens nothing yet.
    pub(super) fn new(name: &str, family: Family) -> Self {
        Self {
            name: name.to_owned(),
            family,
            inner: None,
        }
    }

    /// Creates the set. `Err` holds libipset's text.
    pub(super) fn create(&mut self, max_elements: u32, timeout: Timeout) -> Result<(), String> {
        let ipv6 = self.family == Family::V6;
        self.run(|session| {
            session.create(|builder| {
                builder
                    .with_ipv6(ipv6)?
                    .with_max_elem(max_elements)?
                    .with_timeout(timeout.secs())?
                    .build()
            })
        })
    }

    /// Makes one change; `false` when it did not take effect.
    pub(super) fn apply(&mut self, change: Change) -> bool {
        self.run(|session| match change {
            Change::Ban(element, timeout) => {
                let network = NetDataType::new(element.address(), element.prefix_len());
                session.add(network, &[AddOption::Timeout(timeout.secs())])
            }
            Change::Unban(element) => session.del(NetDataType::new(element.address(), element.prefix_len())),
        })
        .is_ok()
    }

    /// Destroys the set; `false` when it still exists or never did.
    pub(super) fn destroy(&mut self) -> bool {
        self.run(ipset::Session::destroy).is_ok()
    }

    fn run(
        &mut self,
        command: impl FnOnce(&mut ipset::Session<HashNet>) -> Result<bool, ipset::types::Error>,
    ) -> Result<(), String> {
        let _alone = alone();
        let session = self.inner.get_or_insert_with(|| {
            let mut session = ipset::Session::new(self.name.clone());
            // Adding again restarts the clock, deleting what is absent succeeds.
            session.set_option(EnvOption::Exist);
            session
        });
        match command(session) {
            Ok(true) => Ok(()),
            result => {
                // A command that failed leaves its options behind in the session.
                self.inner = None;
                Err(result
                    .err()
                    .map_or_else(|| "refused".to_owned(), |error| error.to_string()))
            }
        }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        let _alone = alone();
        self.inner = None;
    }
}

fn alone() -> MutexGuard<'static, ()> {
    LIBRARY.lock().unwrap_or_else(PoisonError::into_inner)
}
