//! The communication layer.

pub mod stream;
