//! Message stream encryption, by the sizes of its flights.             Source: the Azureus wiki's MSE page.
pub use crate::randomness::looks_random;
