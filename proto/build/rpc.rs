//! A type per RPC, and the accessors of requests and responses, by the names of their fields.

use std::collections::BTreeMap;

use proc_macro2::TokenStream;
use protox::prost_reflect::{
    DescriptorPool, FieldDescriptor, FileDescriptor, Kind, MessageDescriptor, MethodDescriptor, ServiceDescriptor,
};
use quote::quote;

use super::options::Options;
use super::{Fallible, names};

/// What a request says to the suite, not about what it asks for.
const AT_LEAST: &str = "at_least";
const REQUEST_ID: &str = "request_id";
const PAGE_SIZE: &str = "page_size";
const PAGE_TOKEN: &str = "page_token";
/// The package of operators' commands.
const OPERATORS: &str = "kith.ops.v1";

/// The module `rpc` of a package: a type per RPC of its services. Nothing for a package without services.
pub fn markers(files: &[FileDescriptor]) -> TokenStream {
    let methods: Vec<_> = files.iter().flat_map(FileDescriptor::services).flat_map(methods).collect();
    if methods.is_empty() {
        return TokenStream::new();
    }
    let markers = methods.iter().map(marker);
    quote! {
        /// The RPCs of this package, as types.
        pub mod rpc {
            #(#markers)*
        }
    }
}

/// The traits of `rpc.rs`, for every request and response that has the fields.
pub fn accessors(pool: &DescriptorPool, options: &Options) -> Fallible<TokenStream> {
    let methods = pool.services().filter(|service| super::is_ours(service.package_name())).flat_map(methods);
    let (mut requests, mut responses) = (BTreeMap::new(), BTreeMap::new());
    for method in methods {
        requests.insert(method.input().full_name().to_owned(), method.input());
        responses.insert(method.output().full_name().to_owned(), method.output());
    }
    let mut all = costs(pool, options)?;
    for request in requests.values() {
        all.extend(of_request(request, options)?);
    }
    for response in responses.values() {
        all.extend(of_response(response)?);
    }
    Ok(all)
}

fn methods(service: ServiceDescriptor) -> Vec<MethodDescriptor> {
    service.methods().collect()
}

fn marker(method: &MethodDescriptor) -> TokenStream {
    let (name, service) = (names::camel(method.name()), method.parent_service().full_name());
    let full_name = format!("{service}/{}", method.name());
    let (request, response) = (names::message(&method.input()), names::message(&method.output()));
    let doc = format!(" `{full_name}`");
    quote! {
        #[doc = #doc]
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub struct #name;

        impl crate::rpc::Rpc for #name {
            type Request = #request;
            type Response = #response;
            const NAME: &'static str = #full_name;
            const SERVICE: &'static str = #service;
        }
    }
}

fn of_request(request: &MessageDescriptor, options: &Options) -> Fallible<TokenStream> {
    let path = names::message(request);
    let mut all = TokenStream::new();
    if has(request, AT_LEAST, true, Kind::String)? {
        all.extend(quote! {
            impl AtLeast for #path {
                fn at_least(&self) -> &[String] {
                    &self.at_least
                }
            }
        });
    }
    if has(request, REQUEST_ID, false, Kind::String)? {
        let secrets = request.fields().filter(|field| options.is_secret(field)).map(|field| field.name().to_owned());
        let content = without(request, secrets.chain([REQUEST_ID, AT_LEAST].map(str::to_owned)));
        all.extend(quote! {
            impl Repeatable for #path {
                fn request_id(&self) -> &str {
                    &self.request_id
                }

                fn content(&self) -> Vec<u8> {
                    #content
                }
            }
        });
    }
    if has(request, PAGE_SIZE, false, Kind::Int32)? && has(request, PAGE_TOKEN, false, Kind::String)? {
        let filter = without(request, [PAGE_SIZE, PAGE_TOKEN, AT_LEAST].map(str::to_owned));
        all.extend(quote! {
            impl Paged for #path {
                fn page_size(&self) -> i32 {
                    self.page_size
                }

                fn page_token(&self) -> &str {
                    &self.page_token
                }

                fn filter(&self) -> Vec<u8> {
                    #filter
                }
            }
        });
    }
    Ok(all)
}

/// What each RPC of callers costs. Operators' have no rate.
fn costs(pool: &DescriptorPool, options: &Options) -> Fallible<TokenStream> {
    let services = pool.services().filter(|service| super::is_ours(service.package_name()));
    let methods = services.filter(|service| service.package_name() != OPERATORS).flat_map(methods);
    let costs = methods.map(|method| {
        let (name, points) =
            (format!("{}/{}", method.parent_service().full_name(), method.name()), options.cost(&method));
        if points == 0 && method.input().get_field_by_name(REQUEST_ID).is_some() {
            return Err(format!("{name}: a command without a cost"));
        }
        let cost = match (points, options.costs_each(&method)) {
            (0, _) => rows(&method.input()),
            (_, false) => quote!(Cost::Points(#points)),
            (_, true) => {
                let list = list(&method.input()).ok_or_else(|| format!("{name}: a cost of each item of no list"))?;
                let field = list.number();
                quote!(Cost::Each { points: #points, field: #field })
            }
        };
        Ok(quote!((#name, #cost)))
    });
    let costs = costs.collect::<Result<Vec<_>, _>>()?;
    Ok(quote! {
        /// What each RPC of callers costs, by its service and name.
        pub static COSTS: &[(&str, Cost)] = &[#(#costs),*];
    })
}

/// The list of what a request is about.
fn list(request: &MessageDescriptor) -> Option<FieldDescriptor> {
    request.fields().find(|field| field.is_list() && field.name() != AT_LEAST)
}

/// How many rows a request asks for: the size of a page, or the items of its one list.
fn rows(request: &MessageDescriptor) -> TokenStream {
    if let Some(field) = request.get_field_by_name(PAGE_SIZE) {
        let field = field.number();
        return quote!(Cost::Page { field: #field });
    }
    match list(request) {
        Some(items) => {
            let field = items.number();
            quote!(Cost::Items { field: #field })
        }
        None => quote!(Cost::Points(1)),
    }
}

/// The bytes of a request without some of its fields.
fn without(request: &MessageDescriptor, fields: impl IntoIterator<Item = String>) -> TokenStream {
    let left_out = fields.into_iter().filter_map(|field| request.get_field_by_name(&field));
    let left_out = left_out.map(|field| names::ident(field.name()));
    quote! {
        let mut rest = self.clone();
        #(rest.#left_out = Default::default();)*
        rest.encode_to_vec()
    }
}

fn of_response(response: &MessageDescriptor) -> Fallible<TokenStream> {
    let path = names::message(response);
    let setters = [
        ("TakesToken", "set_consistency_token", "consistency_token", Kind::String),
        ("TakesAsOf", "set_as_of", "as_of", Kind::String),
        ("TakesNextPage", "set_next_page_token", "next_page_token", Kind::String),
        ("TakesIncomplete", "set_incomplete", "incomplete", Kind::Bool),
    ];
    let mut all = TokenStream::new();
    for (of, set, field, kind) in setters {
        let of_type = if kind == Kind::Bool { quote!(bool) } else { quote!(String) };
        if has(response, field, false, kind)? {
            let (of, set, field) = (names::ident(of), names::ident(set), names::ident(field));
            all.extend(quote! {
                impl #of for #path {
                    fn #set(&mut self, #field: #of_type) {
                        self.#field = #field;
                    }
                }
            });
        }
    }
    Ok(all)
}

/// Whether a message has a field of this name, which is then of this type and no other.
fn has(message: &MessageDescriptor, name: &str, is_list: bool, kind: Kind) -> Fallible<bool> {
    let Some(field) = message.get_field_by_name(name) else { return Ok(false) };
    if field.kind() != kind || field.is_list() != is_list || field.supports_presence() {
        return Err(format!("{}: a field of this name has another type", field.full_name()).into());
    }
    Ok(true)
}
