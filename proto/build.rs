//! Compiles the wire messages with a pure Rust compiler, so that building wants nothing but cargo.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo::rerun-if-changed=proto");
    let files = protox::compile(["farshore/v1/replication.proto", "farshore/v1/coordinator.proto"], ["proto"])?;
    tonic_prost_build::configure().bytes(".").compile_fds(files)?;
    Ok(())
}
