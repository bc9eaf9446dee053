//! btblocker: recognises BitTorrent on network interfaces and bans the hosts that speak it.

pub mod ban;
pub mod capture;
pub mod judge;
pub mod network;
pub mod packet;
