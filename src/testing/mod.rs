//! What tests, examples and simulations need and production does not: test organisations, a clock that is moved by
//! hand, a network in memory, faults on it. Behind the feature `testing`.

mod clock;
pub mod cryptogen;
pub mod simulator;
mod skip;
pub(crate) mod thread_faults;

pub use crate::sync::counted::locks_held;
pub use crate::transport::faults::{FaultRates, Faults};
pub use crate::transport::memory::MemoryNetwork;
pub use clock::VirtualClock;
pub use simulator::{Links, NodeSpec, Report, Simulator, SimulatorConfig};
pub use skip::skip;
pub use thread_faults::ThreadFaults;
