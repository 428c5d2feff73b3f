//! The membership, row by row of the conformance list (D1–D36): state machines in virtual time. Recorded scenarios of
//! Fabric are in `vectors/membership.rs`.

mod members;
mod messages;
mod net;
mod network;
mod seeds;
mod weaknesses;
