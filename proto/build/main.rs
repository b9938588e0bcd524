//! Compiles every proto under `kith/` with protox, so that no protoc is needed, and writes what their descriptors say that
//! nobody then types by hand: the modules, the events, the RPCs, what of a message is hidden.

mod event;
mod modules;
mod names;
mod options;
mod rpc;
mod secret;

use std::error::Error;
use std::path::{Path, PathBuf};
use std::{env, fs};

use proc_macro2::TokenStream;
use protox::prost_reflect::{DescriptorPool, MessageDescriptor};

use options::Options;

/// Why the protos cannot be built; says which one and what is wrong with it.
type Fallible<T> = Result<T, Box<dyn Error>>;

/// What all packages of the suite begin with.
const SUITE: &str = "kith.";
/// The package of our options: the build reads it, the suite has no messages of it.
const OPTIONS: &str = "kith.options.v1";
/// That of protovalidate's: for callers, and for the tests.
const RULES: &str = "buf.validate";
/// The package of closed content, which is a type of its own, and that type.
const CONTENT: &str = "kith.content.v1";
const CONTENT_TYPE: &str = "::kith_content::Content";

fn main() -> Fallible<()> {
    for folder in ["buf", "kith"] {
        println!("cargo:rerun-if-changed={folder}");
    }
    let mut protos = Vec::new();
    find_protos(Path::new("kith"), &mut protos)?;
    // The order of a folder's entries is the file system's; the descriptor set's is ours.
    protos.sort();
    let mut compiler = protox::Compiler::new(["."])?;
    compiler.include_imports(true).include_source_info(true).open_files(&protos)?;
    let out_dir = PathBuf::from(env::var_os("OUT_DIR").ok_or("OUT_DIR is not set")?);
    fs::write(out_dir.join("kith.binpb"), compiler.encode_file_descriptor_set())?;

    let pool = compiler.descriptor_pool();
    let options = Options::find(&pool)?;
    let mut descriptors = compiler.file_descriptor_set();
    descriptors.file.retain(|file| file.package() != OPTIONS && file.package() != RULES);
    tonic_prost_build::configure()
        .bytes(".")
        .extern_path(format!(".{CONTENT}.Content"), CONTENT_TYPE)
        .skip_debug(secret::holders(&pool, &options))
        .emit_rerun_if_changed(false)
        .compile_fds(descriptors)?;
    write(&out_dir.join("modules.rs"), modules::all(&pool))?;
    write(&out_dir.join("event.rs"), event::all(&pool, &options)?)?;
    write(&out_dir.join("rpc.rs"), rpc::accessors(&pool, &options)?)?;
    write(&out_dir.join("secret.rs"), secret::debug_impls(&pool, &options))
}

fn write(path: &Path, tokens: TokenStream) -> Fallible<()> {
    Ok(fs::write(path, prettyplease::unparse(&syn::parse2(tokens)?))?)
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

/// Whether a package is one that callers or the log have messages of.
fn is_ours(package: &str) -> bool {
    package.starts_with(SUITE) && package != OPTIONS && package != CONTENT
}

/// Every message of the suite, those within others too.
fn messages(pool: &DescriptorPool) -> impl Iterator<Item = MessageDescriptor> {
    pool.all_messages().filter(|message| is_ours(message.package_name()))
}
