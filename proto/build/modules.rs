//! The nest of modules, one per package.

use std::collections::BTreeMap;

use proc_macro2::TokenStream;
use protox::prost_reflect::{DescriptorPool, FileDescriptor};
use quote::quote;

use super::{SUITE, names, rpc};

/// Where a file's descriptor keeps the comment of its `package` statement.
const PACKAGE_PATH: [i32; 1] = [2];

#[derive(Default)]
struct Module {
    content: TokenStream,
    inner: BTreeMap<String, Module>,
}

/// `pub mod posts { pub mod v1 { … } }`, for every package.
pub fn all(pool: &DescriptorPool) -> TokenStream {
    let mut packages: BTreeMap<String, Vec<FileDescriptor>> = BTreeMap::new();
    for file in pool.files().filter(|file| super::is_ours(file.package_name())) {
        packages.entry(file.package_name().to_owned()).or_default().push(file);
    }
    let mut root = Module::default();
    for (package, files) in &packages {
        let names = package.strip_prefix(SUITE).unwrap_or(package).split('.');
        let module = names.fold(&mut root, |module, name| module.inner.entry(name.to_owned()).or_default());
        module.content = content(package, files);
    }
    nest(&root, SUITE.trim_end_matches('.'))
}

fn nest(module: &Module, path: &str) -> TokenStream {
    let inner = module.inner.iter().map(|(name, module)| {
        let (path, name) = (format!("{path}.{name}"), names::ident(name));
        let (doc, content, inner) = (format!(" `{path}`"), &module.content, nest(module, &path));
        quote! {
            #[doc = #doc]
            pub mod #name {
                #content
                #inner
            }
        }
    });
    inner.collect()
}

fn content(package: &str, files: &[FileDescriptor]) -> TokenStream {
    let docs = files.iter().filter_map(comment).map(|doc| quote!(#![doc = #doc]));
    let rpcs = rpc::markers(files);
    quote! {
        #(#docs)*
        #![allow(clippy::all, clippy::pedantic, unused_qualifications)]
        tonic::include_proto!(#package);
        #rpcs
    }
}

/// What a file says of its package.
fn comment(file: &FileDescriptor) -> Option<String> {
    let locations = &file.file_descriptor_proto().source_code_info.as_ref()?.location;
    let package = locations.iter().find(|location| location.path == PACKAGE_PATH)?;
    package.leading_comments.as_ref().map(|comment| comment.trim_end().to_owned())
}
