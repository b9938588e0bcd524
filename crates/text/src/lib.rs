//! What people write and are called: how a text, a name, a handle, a tag or a link is normalised, and which is refused.
//!
//! Pure: the same input gives the same result in every process of one release. Results are stored in events, so that a
//! later release, with a later version of Unicode, changes nothing that was written before.

pub mod address;
mod character;
pub mod facets;
mod folding;
pub mod handle;
pub mod language;
mod name;
mod plain;
pub mod search;

pub use name::parse_name;
pub use plain::{Length, TextError, TextLimit, beginning, parse_text, parse_text_or_empty};
