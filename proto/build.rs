//! Compiles the contract without protoc, and leaves its descriptor for the compatibility test.

use std::{env, error::Error, fs, path::PathBuf};

const FILES: [&str; 3] = ["fleet/v1/types.proto", "fleet/v1/host.proto", "fleet/v1/fleet.proto"];

/// Messages with a secret in them; their `Debug` is written by hand and does not show it.
const SECRETS: [&str; 5] = [
    ".fleet.v1.Credential",
    ".fleet.v1.CreatePoolRequest",
    ".fleet.v1.SetCredentialRequest",
    ".fleet.v1.JoinRequest",
    ".fleet.v1.InviteHostResponse",
];

fn main() -> Result<(), Box<dyn Error>> {
    let root = PathBuf::from(env::var("CARGO_MANIFEST_DIR")?);
    println!("cargo:rerun-if-changed={}", root.join("fleet").display());
    let mut compiler = protox::Compiler::new([&root])?;
    compiler.include_source_info(true).include_imports(true);
    compiler.open_files(FILES)?;
    let out = PathBuf::from(env::var("OUT_DIR")?);
    fs::write(out.join("fleet.v1.bin"), compiler.encode_file_descriptor_set())?;
    // Maps with a fixed order: the same message always has the same bytes.
    tonic_prost_build::configure()
        .btree_map(".")
        .skip_debug(SECRETS)
        .compile_fds(compiler.file_descriptor_set())?;
    Ok(())
}
