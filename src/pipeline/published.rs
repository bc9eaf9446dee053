//! A value that one thread replaces now and then and others read all the time.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

#[derive(Debug)]
struct Shared<T> {
    version: AtomicU64,
    value: RwLock<Arc<T>>,
}

/// The writing end. Clones write the same value.
#[derive(Debug)]
pub struct Published<T>(Arc<Shared<T>>);

impl<T> Clone for Published<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<T> Published<T> {
    /// With a first value.
    pub fn new(value: T) -> Self {
        Self(Arc::new(Shared {
            version: AtomicU64::new(0),
            value: RwLock::new(Arc::new(value)),
        }))
    }
    /// Replaces the value; readers have it from their next [`Reader::refresh`] on.
    pub fn publish(&self, value: T) {
        *self.0.value.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(value);
        self.0.version.fetch_add(1, Ordering::Release);
    }
    /// A reader.
    pub fn reader(&self) -> Reader<T> {
        let seen = self.0.version.load(Ordering::Acquire);
        Reader {
            seen,
            current: self.0.current(),
            shared: Arc::clone(&self.0),
        }
    }
}

impl<T> Shared<T> {
    fn current(&self) -> Arc<T> {
        Arc::clone(&self.value.read().unwrap_or_else(PoisonError::into_inner))
    }
}

/// A reading end with its own reference to the value: reading takes no lock.
#[derive(Debug)]
pub struct Reader<T> {
    shared: Arc<Shared<T>>,
    seen: u64,
    current: Arc<T>,
}

impl<T> Reader<T> {
    /// Takes the newest value. One atomic load when it did not change.
    pub fn refresh(&mut self) {
        let version = self.shared.version.load(Ordering::Acquire);
        if version != self.seen {
            (self.seen, self.current) = (version, self.shared.current());
        }
    }
    /// The value as of the last refresh.
    pub fn get(&self) -> &T {
        &self.current
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn readers_have_a_new_value_after_a_refresh() {
        let published = Published::new(1);
        let mut reader = published.reader();
        published.clone().publish(2);
        assert_eq!(*reader.get(), 1);
        reader.refresh();
        assert_eq!((*reader.get(), *published.reader().get()), (2, 2));
    }
}
