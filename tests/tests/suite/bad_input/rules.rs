//! What the protos say that a request's fields have to be: `buf.validate.field`, and `kith.options.v1.max_graphemes`.

use std::collections::BTreeSet;
use std::sync::OnceLock;

use kith_proto::FILE_DESCRIPTOR_SET;
use prost_reflect::{DescriptorPool, DynamicMessage, FieldDescriptor, MethodDescriptor, Value};
use regex::Regex;

/// Ids of all kinds.
pub const ID: &str = "^[0-9a-f]{32}$";
/// Served to operators, on a listener of their own, without a bearer.
const OPERATORS: &str = "kith.ops.v1";

/// The rules of a field; none: whatever its type takes.
#[derive(Debug, Clone, Default)]
pub struct Rules {
    pub required: bool,
    /// A field that may be left out.
    pub optional: bool,
    pub at_least: Option<i32>,
    pub min_chars: Option<usize>,
    pub max_chars: Option<usize>,
    pub max_bytes: Option<usize>,
    pub max_graphemes: Option<usize>,
    pub pattern: Option<Regex>,
    pub defined_only: bool,
    pub not_in: Vec<i32>,
    pub max_items: Option<usize>,
    pub items: Option<Box<Rules>>,
}

impl Rules {
    pub fn of(field: &FieldDescriptor) -> Self {
        let option = |name: &str| {
            let pool = field.parent_pool();
            field.options().get_extension(&pool.get_extension_by_name(name).unwrap()).into_owned()
        };
        let max_graphemes = option("kith.options.v1.max_graphemes").as_u32().unwrap() as usize;
        let rules = Self::read(option("buf.validate.field").as_message().unwrap());
        Self { max_graphemes: Some(max_graphemes).filter(|&max| max > 0), ..rules }
    }

    pub fn is_id(&self) -> bool {
        self.pattern.as_ref().is_some_and(|pattern| pattern.as_str() == ID)
    }

    /// As protovalidate has it, but for how characters are counted once the text is normalised.
    pub fn allow(&self, text: &str) -> bool {
        let chars = text.chars().count();
        self.optional && text.is_empty()
            || self.min_chars.is_none_or(|min| chars >= min)
                && self.max_chars.is_none_or(|max| chars <= max)
                && self.max_bytes.is_none_or(|max| text.len() <= max)
                && self.pattern.as_ref().is_none_or(|pattern| pattern.is_match(text))
    }

    fn read(rules: &DynamicMessage) -> Self {
        let of = |kind: &str| Named(rules.get_field_by_name(kind).unwrap().as_message().unwrap().clone());
        let (of_string, of_int, of_enum, of_list) = (of("string"), of("int32"), of("enum"), of("repeated"));
        let of_field = Named(rules.clone());
        Self {
            required: of_field.get("required").is_some(),
            optional: of_field.get("ignore").is_some(),
            at_least: of_int.get("gte").and_then(|value| value.as_i32()),
            min_chars: of_string.size("min_len"),
            max_chars: of_string.size("max_len"),
            max_bytes: of_string.size("max_bytes"),
            max_graphemes: None,
            pattern: of_string.get("pattern").map(|value| Regex::new(value.as_str().unwrap()).unwrap()),
            defined_only: of_enum.get("defined_only").is_some(),
            not_in: of_enum.get("not_in").map(|value| numbers(&value)).unwrap_or_default(),
            max_items: of_list.size("max_items"),
            items: of_list.get("items").map(|value| Box::new(Self::read(value.as_message().unwrap()))),
        }
    }
}

/// Every RPC that is served to callers.
pub fn callers_rpcs() -> Vec<MethodDescriptor> {
    let pool = DescriptorPool::decode(FILE_DESCRIPTOR_SET).unwrap();
    let services = pool.services().filter(|service| service.package_name() != OPERATORS);
    let found: Vec<_> = services.flat_map(|service| service.methods().collect::<Vec<_>>()).collect();
    assert!(found.len() > 30, "the descriptors are not those of the suite");
    found
}

/// Whether the RPC, by its service's full name and its own, answers with a stream.
pub fn is_streaming(method: &str) -> bool {
    static STREAMING: OnceLock<BTreeSet<String>> = OnceLock::new();
    let all = || {
        let streaming = callers_rpcs().into_iter().filter(MethodDescriptor::is_server_streaming);
        streaming.map(|rpc| format!("{}/{}", rpc.parent_service().full_name(), rpc.name())).collect()
    };
    STREAMING.get_or_init(all).contains(method)
}

/// A message of rules.
struct Named(DynamicMessage);

impl Named {
    /// What is said of this; the options say nothing with a zero.
    fn get(&self, name: &str) -> Option<Value> {
        self.0.has_field_by_name(name).then(|| self.0.get_field_by_name(name).unwrap().into_owned())
    }

    fn size(&self, name: &str) -> Option<usize> {
        self.get(name).map(|value| usize::try_from(value.as_u64().unwrap()).unwrap())
    }
}

fn numbers(value: &Value) -> Vec<i32> {
    value.as_list().unwrap().iter().map(|number| number.as_i32().unwrap()).collect()
}
