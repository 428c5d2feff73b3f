//! The node: membership, identities and channels put together.
//!
//! All of it is here without threads, clock, network or keys: [`core::NodeCore`] takes events and gives effects. What it
//! is made of can be used by itself.

mod cert_store;
pub mod channel;
pub mod config;
pub mod core;
pub mod disclosure;
pub mod emitter;
pub mod event;
mod expiry;
pub mod filter;
mod forward;
pub mod identities;
pub mod peers;
pub mod pull;
mod renewal;

pub use self::core::{Criteria, NodeCore, SeedRole};
pub use channel::{AnchorPeer, ChannelConfig, ChannelOrgs};
pub use config::NodeConfig;
pub use event::{Context, Effect, Event, Notice, Remote, Token};
pub use identities::Identities;
