//! The recorded behaviour of Fabric against this library's. `FABRIC_GOSSIP_VECTORS` names a folder with other
//! recordings of the same form to run instead.
//!
//! One module per file. To agree means the same verdict, the same decoded or encoded bytes, the same re-encoding; a
//! text is compared where it is gossip's own, and never where it is the wording of Go's protobuf. Where Fabric crashes,
//! we refuse and go on. Every field of a case is read, or the test fails and names the field.

mod alive;
mod envelopes;
mod handshake;
mod json;
mod membership;
mod msp;
mod node;
mod orgs;
mod pull;
mod record;
mod signatures;
mod support;
mod tally;
