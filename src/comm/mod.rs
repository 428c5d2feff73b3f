//! The communication layer.

#[cfg(feature = "grpc")]
pub mod grpc;
pub mod stream;
