//! Signatures and client tables.
#![no_std]
#![forbid(unsafe_code)]
