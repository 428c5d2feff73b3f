//! Generates the types and the service from the main crate's `proto/`. protox parses the files in Rust, so protoc is
//! not needed, and no generated code is kept in the repository.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let proto = "../../proto";
    println!("cargo:rerun-if-changed={proto}");
    let files = protox::compile(["gossip.proto", "msp.proto"], [proto])?;
    tonic_prost_build::configure()
        // Byte fields share the buffer they were read into.
        .bytes(".")
        .codec_path("crate::wire::Codec")
        .include_file("proto.rs")
        .compile_fds(files)?;
    Ok(())
}
