//! The membership, row by row of the conformance list (D1–D36): state machines in virtual time. What Fabric did in
//! recorded scenarios is in `vectors/membership.rs`.

#[path = "discovery/members.rs"]
mod members;
#[path = "discovery/messages.rs"]
mod messages;
#[path = "discovery/net.rs"]
mod net;
#[path = "discovery/network.rs"]
mod network;
#[path = "discovery/seeds.rs"]
mod seeds;
#[path = "discovery/weaknesses.rs"]
mod weaknesses;
