//! What tests, examples and simulations need and production does not: test organisations, a clock that is moved by
//! hand, a network in memory, faults on it. Behind the feature `testing`.

mod clock;
pub mod cryptogen;
mod faults;
pub(crate) mod live;
mod memory;
pub(crate) mod shortage;
pub mod simulator;

pub use crate::sync::counted::locks_held;
pub use clock::VirtualClock;
pub use faults::{FaultRates, Faults};
pub use live::live_objects;
pub use memory::MemoryNetwork;
pub use shortage::{DescriptorFaults, ThreadFaults};
pub use simulator::{Links, NodeSpec, Report, Simulator, SimulatorConfig};
