//! Whether settled flows end in the kernel.

use log::warn;

use crate::capture::EarlyExit;
use crate::config::Config;

/// The early exits of all interfaces, or why there are none.
pub(super) struct EarlyExits {
    /// By the number of the interface.
    pub(super) loaded: Vec<EarlyExit>,
    /// `on`, `off`, or why it is not possible.
    pub(super) state: String,
}

impl EarlyExits {
    /// Loads one for each of so many interfaces, if they are wanted. That it is not possible costs CPU time only.
    pub(super) fn load(config: &Config, interfaces: usize) -> Self {
        let none = |state| Self {
            loaded: Vec::new(),
            state,
        };
        if !config.early_exit {
            return none("off".to_owned());
        }
        let loaded: Result<_, _> = (0..interfaces).map(|_| EarlyExit::load(config.snaplen)).collect();
        match loaded {
            Ok(loaded) => Self {
                loaded,
                state: "on".to_owned(),
            },
            Err(error) => {
                let why = format!("{:#}", anyhow::Error::from(error));
                warn!("no early exit, settled flows cost more: {why}");
                none(format!("not possible: {why}"))
            }
        }
    }
}
