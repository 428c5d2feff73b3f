//! What Fabric itself did, recorded, against what this library does. `FABRIC_GOSSIP_VECTORS` names a folder with other
//! recordings of the same form to run instead.
//!
//! One module per file. To agree means the same verdict, the same decoded or encoded bytes, the same re-encoding; a
//! text is compared where it is gossip's own, and never where it is the wording of Go's protobuf. Where Fabric crashes,
//! we refuse and go on. Every field of a case is read, or the test fails and names the field.

#[path = "vectors/alive.rs"]
mod alive;
#[path = "vectors/envelopes.rs"]
mod envelopes;
#[path = "vectors/handshake.rs"]
mod handshake;
#[path = "vectors/json.rs"]
mod json;
#[path = "vectors/membership.rs"]
mod membership;
#[path = "vectors/msp.rs"]
mod msp;
#[path = "vectors/node.rs"]
mod node;
#[path = "vectors/orgs.rs"]
mod orgs;
#[path = "vectors/pull.rs"]
mod pull;
#[path = "vectors/record.rs"]
mod record;
#[path = "vectors/signatures.rs"]
mod signatures;
#[path = "vectors/support.rs"]
mod support;
#[path = "vectors/tally.rs"]
mod tally;
