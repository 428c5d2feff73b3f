//! The node: membership, identities and channels put together.

pub mod emitter;
pub mod filter;
pub mod pull;
