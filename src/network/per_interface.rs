//! What holds on one interface and not on others.

/// A value for every interface by its number: one for all, and others for some of them.
#[derive(Clone, Debug, Default)]
pub struct PerInterface<T> {
    common: T,
    own: Vec<Option<T>>,
}

impl<T> PerInterface<T> {
    /// With a value for all interfaces, and for each number from 0 its own, if it has one.
    pub fn new(common: T, own: impl IntoIterator<Item = Option<T>>) -> Self {
        Self {
            common,
            own: own.into_iter().collect(),
        }
    }

    /// The value for an interface.
    pub fn of(&self, interface: u16) -> &T {
        let own = self.own.get(usize::from(interface));
        own.and_then(Option::as_ref).unwrap_or(&self.common)
    }
}

impl<T> From<T> for PerInterface<T> {
    fn from(common: T) -> Self {
        Self::new(common, [])
    }
}
