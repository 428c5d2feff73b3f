//! Hyperledger Fabric's gossip networking for programs that are not async.
#![deny(unsafe_code)]
#![warn(missing_docs)]

pub mod cancel;
pub mod clock;
pub mod comm;
pub mod crypto;
pub mod error;
pub mod identity;
pub mod msp;
#[cfg(feature = "testing")]
pub mod testing;

pub use error::{Error, ErrorKind, Result};
