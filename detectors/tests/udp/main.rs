//! What the inspector of UDP flows says about exchanges that are built from the specifications, about
//! look-alikes, and about damaged and hostile bytes.

mod bencoded;
mod budget;
mod damage;
mod dht;
mod lookalike;
mod lsd;
mod script;
mod socks;
mod tracker;
mod utp;
mod vuze;
