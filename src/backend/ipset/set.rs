//! The set of one family: made, checked, changed and destroyed.

use std::ffi::CString;
use std::io;
use std::time::Duration;

use nftnl::ProtoFamily;

use super::message::{Code, Header, Ipsets, Listing, family_name};
use super::session::Session;
use super::{KIND, Options};
use crate::backend::ruleset::{Direction, RuleSpec, Step, TableSpec};
use crate::backend::{Family, refusal};
use crate::ban::{BackendError, Change, Element, Held};

const HOLDS_NETWORKS: &str = "hash:net";
const HOLDS_HOSTS: &str = "hash:ip";
/// Entries per message: 256 cost 0.54 µs each, single messages 2.1 µs (measured).
const ENTRIES_PER_MESSAGE: usize = 256;
/// A set stays in use for a moment after its last rule is gone, because the kernel frees rules later.
const FREED_WITHIN: Duration = Duration::from_secs(2);
const FREED_POLL: Duration = Duration::from_millis(5);

/// The set of one family.
pub(super) struct Set {
    family: Family,
    name: String,
    session: Session,
}

impl Set {
    /// Asks nothing yet.
    pub(super) fn new(family: Family, options: &Options) -> Self {
        let name = family.set_name(&options.set_name);
        let session = Session::new(&name, family);
        Self {
            family,
            name,
            session,
        }
    }

    /// Whether `element` belongs into this set.
    pub(super) fn holds(&self, element: Element) -> bool {
        self.family == Family::of(element)
    }

    /// The set by kind and name.
    pub(super) fn object(&self) -> String {
        format!("ipset {}", self.name)
    }

    /// The error for an answer of the kernel about this set.
    fn refusal(&self, action: &'static str, source: io::Error) -> BackendError {
        let source = match source.raw_os_error().map(Code) {
            Some(code) if code.is_of_ipset() => io::Error::other(code.to_string()),
            _ => source,
        };
        refusal(KIND, action, &self.object(), source)
    }

    /// Header of the set, checked; `None` when there is no such set.
    pub(super) fn header(&self, ipsets: &mut Ipsets) -> Result<Option<Header>, BackendError> {
        match ipsets.header(&self.name) {
            Ok(header) => self.check(&header).map(|()| Some(header)),
            Err(source) if source.raw_os_error() == Some(libc::ENOENT) => Ok(None),
            Err(source) => Err(self.refusal("reading the header", source)),
        }
    }

    /// Refuses a set that could not hold what the contract asks for.
    fn check(&self, header: &Header) -> Result<(), BackendError> {
        let kind_fits = header.kind == HOLDS_NETWORKS || header.kind == HOLDS_HOSTS;
        let family_fits = header.family == self.family.nfproto();
        if kind_fits && family_fits && header.default_timeout.is_some() && header.netmask.is_none() {
            return Ok(());
        }
        let family = family_name(self.family.nfproto());
        Err(self.mismatch(
            header.to_string(),
            format!("{HOLDS_NETWORKS} family {family} with timeout"),
        ))
    }

    fn mismatch(&self, found: String, wanted: String) -> BackendError {
        BackendError::Mismatch {
            backend: KIND.name(),
            set: self.name.clone(),
            found,
            wanted,
        }
    }

    /// Makes the set unless it is there.
    pub(super) fn ensure(&mut self, ipsets: &mut Ipsets, options: &Options) -> Result<(), BackendError> {
        if self.header(ipsets)?.is_some() {
            return Ok(());
        }
        let Err(text) = self
            .session
            .create(options.max_elements.get(), options.default_timeout)
        else {
            return Ok(());
        };
        // Somebody else may have made it meanwhile; the kernel's answer in numbers decides.
        match self.header(ipsets)? {
            Some(_) => Ok(()),
            None => Err(self.refusal("creating", io::Error::other(text))),
        }
    }

    /// The rules that drop what the set holds.
    pub(super) fn table(&self, ipsets: &mut Ipsets, options: &Options) -> Result<TableSpec, BackendError> {
        let index = ipsets
            .index(&self.name)
            .map_err(|source| self.refusal("finding the index", source))?;
        let family = match self.family {
            Family::V4 => ProtoFamily::Ipv4,
            Family::V6 => ProtoFamily::Ipv6,
        };
        Ok(TableSpec::new(family, options.hooks, |direction| {
            vec![self.rule(index, direction)]
        }))
    }

    fn rule(&self, index: u16, direction: Direction) -> RuleSpec {
        let side = match direction {
            Direction::Source => "from",
            Direction::Destination => "to",
        };
        RuleSpec {
            comment: CString::new(format!("btblocker: {side} ipset {}", self.name)).unwrap_or_default(),
            steps: vec![Step::InIpset(index, direction), Step::Count, Step::Drop],
        }
    }

    /// Refuses bans of networks for a set of type hash:ip, which would take a network as each of its hosts; leaves out
    /// their unbans, since it holds none.
    pub(super) fn fit(&self, ipsets: &mut Ipsets, changes: &mut Vec<Change>) -> Result<(), BackendError> {
        let is_network = |change: &Change| self.holds(change.element()) && !change.element().is_host();
        if !changes.iter().any(is_network) {
            return Ok(());
        }
        let Some(header) = self
            .header(ipsets)?
            .filter(|header| header.kind != HOLDS_NETWORKS)
        else {
            return Ok(());
        };
        let is_ban = |change: &&Change| is_network(change) && matches!(change, Change::Ban(..));
        if let Some(ban) = changes.iter().find(is_ban) {
            let wanted = format!("{HOLDS_NETWORKS} for {}", ban.element());
            return Err(self.mismatch(header.kind, wanted));
        }
        changes.retain(|change| !is_network(change));
        Ok(())
    }

    /// Makes one change through the crate; `false` when it did not take effect.
    pub(super) fn apply_single(&mut self, change: Change) -> bool {
        self.session.apply(change)
    }

    /// Makes changes of this set's family that are all bans or all unbans.
    pub(super) fn apply_run(&self, ipsets: &mut Ipsets, run: &[Change]) -> Result<(), BackendError> {
        for changes in run.chunks(ENTRIES_PER_MESSAGE) {
            let Err(source) = ipsets.change(&self.name, self.family, changes) else {
                continue;
            };
            let full = source.raw_os_error().map(Code) == Some(Code::HASH_FULL);
            let error = self.refusal("changing entries", source);
            // Where the set itself is the reason, its header says so more clearly.
            return Err(match self.header(ipsets)? {
                Some(Header {
                    max_elements: max, ..
                }) if full => BackendError::Full {
                    backend: KIND.name(),
                    set: self.name.clone(),
                    max,
                },
                _ => error,
            });
        }
        Ok(())
    }

    /// All entries.
    pub(super) fn list(&self, ipsets: &mut Ipsets) -> Result<Vec<Held>, BackendError> {
        ipsets
            .list(&self.name)
            .map_err(|source| self.refusal("listing", source))
    }

    /// Begins to read the entries in steps.
    pub(super) fn begin_reading(&self, ipsets: &Ipsets) -> Result<Listing, BackendError> {
        ipsets
            .begin_list(&self.name)
            .map_err(|source| self.refusal("listing", source))
    }

    /// Reads some entries; whether there are no more.
    pub(super) fn read_some(
        &self,
        listing: &mut Listing,
        on_entry: impl FnMut(Held),
    ) -> Result<bool, BackendError> {
        listing
            .more(on_entry)
            .map_err(|source| self.refusal("listing", source))
    }

    /// Destroys the set if it is there.
    pub(super) fn destroy(&mut self, ipsets: &mut Ipsets) -> Result<(), BackendError> {
        for _ in 0..FREED_WITHIN.as_millis() / FREED_POLL.as_millis() {
            if self.session.destroy() {
                return Ok(());
            }
            match ipsets.header(&self.name) {
                Err(source) if source.raw_os_error() == Some(libc::ENOENT) => return Ok(()),
                Err(source) => return Err(self.refusal("reading the header", source)),
                Ok(_) => std::thread::sleep(FREED_POLL),
            }
        }
        let busy = io::Error::new(
            io::ErrorKind::ResourceBusy,
            "rules that are not ours still use it",
        );
        Err(self.refusal("destroying", busy))
    }
}
