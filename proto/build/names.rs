//! The Rust names that prost gives to what stands in the protos.

use heck::{ToSnakeCase, ToUpperCamelCase};
use proc_macro2::{Ident, Span, TokenStream};
use protox::prost_reflect::{MessageDescriptor, OneofDescriptor};
use quote::quote;

/// The module of a package: `crate::posts::v1` for `kith.posts.v1`.
pub fn module(package: &str) -> TokenStream {
    let names = package.split('.').skip(1).map(ident);
    quote!(crate #(::#names)*)
}

/// The struct of a message: `crate::posts::v1::PostCreated`.
pub fn message(message: &MessageDescriptor) -> TokenStream {
    let (home, name) = (home(message), camel(message.name()));
    quote!(#home::#name)
}

/// The enum of a oneof: `crate::posts::v1::post_event::Event`.
pub fn oneof(oneof: &OneofDescriptor) -> TokenStream {
    let (within, name) = (within(oneof.parent_message()), camel(oneof.name()));
    quote!(#within::#name)
}

/// The fields of a message's struct, in the order of the proto, a oneof being one: name in the proto, and in Rust.
pub fn fields(message: &MessageDescriptor) -> Vec<(String, Ident)> {
    let mut names = Vec::new();
    for field in message.fields() {
        let oneof = field.containing_oneof().filter(|oneof| !oneof.is_synthetic());
        let name = oneof.map_or_else(|| field.name().to_owned(), |oneof| oneof.name().to_owned());
        if !names.contains(&name) {
            names.push(name);
        }
    }
    names.into_iter().map(|name| (name.clone(), ident(&name))).collect()
}

/// A name of a type or a variant.
pub fn camel(name: &str) -> Ident {
    ident(&name.to_upper_camel_case())
}

/// A name as it is, made raw where Rust has a use of its own for it.
pub fn ident(name: &str) -> Ident {
    syn::parse_str(name).unwrap_or_else(|_| Ident::new_raw(name, Span::call_site()))
}

/// Where a message's struct stands.
fn home(message: &MessageDescriptor) -> TokenStream {
    message.parent_message().map_or_else(|| module(message.package_name()), |parent| within(&parent))
}

/// Where what is declared within a message stands.
fn within(message: &MessageDescriptor) -> TokenStream {
    let (home, name) = (home(message), ident(&message.name().to_snake_case()));
    quote!(#home::#name)
}
