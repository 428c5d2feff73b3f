//! Tests of messages and of the topics that they are published under.

mod envelopes;
