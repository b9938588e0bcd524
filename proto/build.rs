//! Compiles every proto under `kith/` with protox, so that no protoc is needed.

use std::error::Error;
use std::path::{Path, PathBuf};
use std::{env, fs};

use prost::Message;

/// Messages that carry a secret: their `Debug` is written by hand (`src/secret.rs`) and leaves it out.
const WITHOUT_DEBUG: [&str; 4] = [
    ".kith.identity.v1.CreateAccountRequest",
    ".kith.identity.v1.CreateSessionRequest",
    ".kith.identity.v1.CreateSessionResponse",
    ".kith.identity.private.v1.AccountRequested",
];

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=kith");
    let mut protos = Vec::new();
    find_protos(Path::new("kith"), &mut protos)?;
    // The order of a folder's entries is the file system's; the descriptor set's is ours.
    protos.sort();
    let descriptors = protox::compile(&protos, ["."])?;
    let out_dir = PathBuf::from(env::var_os("OUT_DIR").ok_or("OUT_DIR is not set")?);
    fs::write(out_dir.join("kith.binpb"), descriptors.encode_to_vec())?;
    tonic_prost_build::configure()
        .bytes(".")
        .skip_debug(WITHOUT_DEBUG)
        .emit_rerun_if_changed(false)
        .compile_fds(descriptors)?;
    Ok(())
}

fn find_protos(folder: &Path, found: &mut Vec<PathBuf>) -> std::io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            find_protos(&path, found)?;
        } else if path.extension().is_some_and(|extension| extension == "proto") {
            found.push(path);
        }
    }
    Ok(())
}
