//! What tests, examples and simulations need and production does not: test organisations, a clock that is moved by
//! hand, a network in memory, faults on it. Behind the feature `testing`.

mod clock;
pub mod cryptogen;
pub(crate) mod live;
pub(crate) mod shortage;
pub mod simulator;
mod skip;

pub use crate::sync::counted::locks_held;
pub use crate::transport::faults::{FaultRates, Faults};
pub use crate::transport::memory::MemoryNetwork;
pub use clock::VirtualClock;
pub use live::live_objects;
pub use shortage::{DescriptorFaults, ThreadFaults};
pub use simulator::{Links, NodeSpec, Report, Simulator, SimulatorConfig};
pub use skip::skip;
