//! `Debug` of the messages that have a secret field.

use proc_macro2::TokenStream;
use protox::prost_reflect::{DescriptorPool, MessageDescriptor};
use quote::quote;

use super::names;
use super::options::Options;

/// The messages for which prost is to derive no `Debug`, as its configuration names them.
pub fn holders(pool: &DescriptorPool, options: &Options) -> Vec<String> {
    with_secrets(pool, options).map(|message| format!(".{}", message.full_name())).collect()
}

/// What is derived for other messages, but for the secret.
pub fn debug_impls(pool: &DescriptorPool, options: &Options) -> TokenStream {
    let impls = with_secrets(pool, options).map(|message| {
        let (path, name) = (names::message(&message), message.name());
        let shown = names::fields(&message).into_iter().map(|(field, member)| {
            let is_secret = message.get_field_by_name(&field).is_some_and(|field| options.is_secret(&field));
            if is_secret { quote!(.field(#field, &HIDDEN)) } else { quote!(.field(#field, &self.#member)) }
        });
        quote! {
            impl fmt::Debug for #path {
                fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                    f.debug_struct(#name)#(#shown)*.finish()
                }
            }
        }
    });
    impls.collect()
}

fn with_secrets(pool: &DescriptorPool, options: &Options) -> impl Iterator<Item = MessageDescriptor> {
    super::messages(pool).filter(|message| message.fields().any(|field| options.is_secret(&field)))
}
