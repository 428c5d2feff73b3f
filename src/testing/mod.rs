//! Helpers for tests, examples and simulations, not for production: test organisations, a manually advanced clock, an
//! in-memory network, faults on it. Requires the feature `testing`.

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
