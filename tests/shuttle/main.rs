//! The real communication layer under a model checker, which decides at every lock, atomic and channel which thread goes
//! on: the network is the one in memory, time moves when a test moves it. `http2` has the transport of that name, over
//! sockets in memory.
//!
//! Built and run by `scripts/shuttle.sh` only. `FABRIC_GOSSIP_SHUTTLE_RUNS` sets how many schedules each test tries with
//! each scheduler, `FABRIC_GOSSIP_SHUTTLE_SEED` which. A test that fails prints its schedule; with that text, or the name
//! of a file with it, in `FABRIC_GOSSIP_SHUTTLE_SCHEDULE` the test repeats it.
#![cfg(shuttle)]

#[path = "../common/fake.rs"]
#[allow(dead_code)]
mod fake;
mod http2;
mod parts;
mod peers;
mod stopping;
mod support;
