//! Generates the message types from `proto/`, in Rust alone: no protoc is needed.

use protobuf_codegen::{Codegen, Customize};

fn main() {
    println!("cargo:rerun-if-changed=proto");
    Codegen::new()
        .pure()
        .include("proto")
        .inputs(["proto/gossip.proto", "proto/collection.proto", "proto/msp.proto"])
        // Bytes fields share the buffer that they were decoded from.
        .customize(Customize::default().tokio_bytes(true))
        .cargo_out_dir("proto")
        .run_from_script();
}
