//! Tests of whole nodes: the state machine on virtual time, simulated networks, and nodes with their threads.

#[macro_use]
#[path = "../common/mod.rs"]
mod common;

mod core;
mod hostile;
mod live;
mod renewal;
mod simulator;
