//! A request that is as its proto wants it, and all the ways to spoil one field of it. Everything here follows from the
//! descriptors, so a new RPC is spoiled as all others are.

use proptest::strategy::{Strategy, ValueTree};
use proptest::string::string_regex;
use proptest::test_runner::TestRunner;
use prost_reflect::{DynamicMessage, FieldDescriptor, Kind, MessageDescriptor, Value};

use super::rules::Rules;

/// How often a text is drawn until it is as long as it has to be.
const DRAWS_MAX: usize = 1_000;
/// Not a token: nothing, too short, and no base64.
const NO_TOKENS: [&str; 3] = ["", "AQ", "not a token"];
/// Far longer than any token.
const LONG_TOKEN_CHARS: usize = 30_000;
/// What shows nothing.
const BLANK: [&str; 3] = ["", " \n\t", "\u{200b}"];

/// A request with one field that is not as it has to be, and how it is to be refused: always INVALID_ARGUMENT.
pub struct Spoiled {
    pub request: DynamicMessage,
    pub reason: &'static str,
    /// The field that the violation names.
    pub field: String,
    /// Of the value, for whoever reads why the test failed.
    pub how: String,
}

/// How much is said in a request that is as its proto wants it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Size {
    /// Of each text as little as its proto takes, of each list one item; nothing that may be left out.
    Least,
    /// As much as its proto takes.
    Most,
}

/// As its proto wants it.
pub fn valid(message: &MessageDescriptor, size: Size) -> DynamicMessage {
    let mut request = DynamicMessage::new(message.clone());
    for field in message.fields() {
        let rules = Rules::of(&field);
        let may_be_left_out = rules.optional || field.name() == "request_id";
        let is_token = ["page_token", "cursor", "at_least", "tokens"].contains(&field.name())
            || field.name() == "subject_token" && rules.min_chars.is_none();
        if !is_token && (size == Size::Most || !may_be_left_out) {
            request.set_field(&field, whole(&field, &rules, size));
        }
    }
    request
}

/// Every way to spoil a request.
pub fn all(message: &MessageDescriptor) -> Vec<Spoiled> {
    let base = valid(message, Size::Least);
    let mut all = Vec::new();
    for field in message.fields() {
        for wrong in wrong_field(&field) {
            let mut request = base.clone();
            match wrong.value {
                Some(value) => request.set_field(&field, value),
                None => request.clear_field(&field),
            }
            all.push(Spoiled { request, reason: wrong.reason, field: wrong.path, how: wrong.how });
        }
    }
    all
}

/// A value that a field must not have; `None`: it is not set.
struct Wrong {
    value: Option<Value>,
    reason: &'static str,
    path: String,
    how: String,
}

impl Wrong {
    fn of(path: &str, reason: &'static str, value: Value) -> Self {
        let how = format!("{value:?}").chars().take(80).collect();
        Self { value: Some(value), reason, path: path.to_owned(), how }
    }
}

fn whole(field: &FieldDescriptor, rules: &Rules, size: Size) -> Value {
    let item = match field.kind() {
        Kind::String => Value::String(text(rules.items.as_deref().unwrap_or(rules), size)),
        Kind::Message(message) => Value::Message(valid(&message, size)),
        Kind::Enum(kind) => {
            let allowed = kind.values().map(|value| value.number()).find(|number| !rules.not_in.contains(number));
            Value::EnumNumber(allowed.unwrap())
        }
        kind => kind.default_value(),
    };
    match (field.is_list(), size) {
        (false, _) => item,
        (true, Size::Least) => Value::List(vec![item]),
        (true, Size::Most) => Value::List(vec![item; rules.max_items.unwrap()]),
    }
}

/// Some text that the rules allow.
fn text(rules: &Rules, size: Size) -> String {
    let most = [rules.max_chars, rules.max_bytes, rules.max_graphemes].into_iter().flatten().min();
    let plain = "a".repeat(if size == Size::Least { rules.min_chars } else { most }.unwrap_or(0));
    let Some(pattern) = rules.pattern.as_ref().filter(|_| !rules.allow(&plain)) else { return plain };
    let drawn = string_regex(pattern.as_str().trim_start_matches('^').trim_end_matches('$')).unwrap();
    let mut runner = TestRunner::deterministic();
    let mut draw = || drawn.new_tree(&mut runner).unwrap().current();
    (0..DRAWS_MAX).map(|_| draw()).find(|text| rules.allow(text)).expect("a text that the rules allow")
}

fn wrong_field(field: &FieldDescriptor) -> Vec<Wrong> {
    let (name, rules) = (field.name(), Rules::of(field));
    match (field.name(), field.kind()) {
        ("at_least", _) => wrong_tokens(name, name, &rules),
        ("tokens", _) => wrong_tokens(name, "tokens[0]", &rules),
        ("page_token", _) => {
            // The empty one asks for the first page.
            let wrong = no_tokens().filter(|token| !token.is_empty());
            wrong.map(|token| Wrong::of(name, "PAGE_TOKEN_INVALID", Value::String(token))).collect()
        }
        ("cursor", _) => {
            // The empty one has heard nothing.
            let wrong = no_tokens().filter(|token| !token.is_empty());
            wrong.map(|token| Wrong::of(name, "CONSISTENCY_TOKEN_INVALID", Value::String(token))).collect()
        }
        // The server's own: what a request has there is dropped.
        ("bio_facets", _) => Vec::new(),
        _ if field.is_list() => wrong_list(field, &rules),
        (_, Kind::Message(message)) => wrong_message(name, &message, &rules),
        (_, Kind::String) => wrong_texts(name, name, &rules),
        (_, Kind::Int32) => {
            let below = rules.at_least.map(|least| [least - 1, i32::MIN]).into_iter().flatten();
            below.map(|number| Wrong::of(name, "FIELD_INVALID", Value::I32(number))).collect()
        }
        (_, Kind::Enum(kind)) => {
            let unknown = (1..).find(|&number| kind.get_value(number).is_none()).filter(|_| rules.defined_only);
            let refused = rules.not_in.iter().copied().chain(unknown);
            refused.map(|number| Wrong::of(name, "FIELD_INVALID", Value::EnumNumber(number))).collect()
        }
        _ => Vec::new(),
    }
}

/// `path` is what is named when one is no token.
fn wrong_tokens(name: &str, path: &str, rules: &Rules) -> Vec<Wrong> {
    let too_many = vec![NO_TOKENS[1].to_owned(); rules.max_items.unwrap() + 1];
    let malformed = no_tokens().map(|token| (path, "CONSISTENCY_TOKEN_INVALID", vec![token]));
    let wrong = malformed.chain([(name, "TOO_MANY_TOKENS", too_many)]);
    let list = |tokens: Vec<String>| Value::List(tokens.into_iter().map(Value::String).collect());
    wrong.map(|(path, reason, tokens)| Wrong::of(path, reason, list(tokens))).collect()
}

fn no_tokens() -> impl Iterator<Item = String> {
    NO_TOKENS.iter().map(|&token| token.to_owned()).chain(["A".repeat(LONG_TOKEN_CHARS)])
}

fn wrong_list(field: &FieldDescriptor, rules: &Rules) -> Vec<Wrong> {
    let name = field.name();
    let Value::List(one) = whole(field, rules, Size::Least) else { unreachable!("a list") };
    let mut all = Vec::new();
    if let Some(max) = rules.max_items {
        // What a request asks for is a batch; other lists belong to what it says.
        let is_batch = rules.items.as_ref().is_none_or(|items| items.is_id());
        let reason = if is_batch { "BATCH_TOO_LONG" } else { "FIELD_INVALID" };
        all.push(Wrong::of(name, reason, Value::List(vec![one[0].clone(); max + 1])));
    }
    let path = format!("{name}[1]");
    let items = match (field.kind(), &rules.items) {
        (Kind::Message(message), _) => wrong_message(&path, &message, &Rules::default()),
        (Kind::String, Some(items)) => wrong_texts(name, &path, items),
        _ => Vec::new(),
    };
    for wrong in items {
        all.push(Wrong { value: wrong.value.map(|value| Value::List(vec![one[0].clone(), value])), ..wrong });
    }
    all
}

fn wrong_message(path: &str, message: &MessageDescriptor, rules: &Rules) -> Vec<Wrong> {
    let inner = all(message).into_iter().map(|spoiled| Wrong {
        value: Some(Value::Message(spoiled.request)),
        reason: spoiled.reason,
        path: format!("{path}.{}", spoiled.field),
        how: spoiled.how,
    });
    let unset = Wrong { value: None, reason: "FIELD_INVALID", path: path.to_owned(), how: "unset".to_owned() };
    inner.chain(rules.required.then_some(unset)).collect()
}

fn wrong_texts(name: &str, path: &str, rules: &Rules) -> Vec<Wrong> {
    let mut wrong: Vec<(&'static str, String)> = Vec::new();
    if let (Some(graphemes), Some(bytes)) = (rules.max_graphemes, rules.max_bytes) {
        let long = ["a".repeat(graphemes + 1), "a".repeat(bytes + 1), "👩".repeat(bytes / 4)];
        wrong.extend(long.map(|text| ("TEXT_TOO_LONG", text)));
        let blank = BLANK.iter().filter(|_| rules.min_chars.is_some());
        wrong.extend(blank.map(|&text| ("TEXT_EMPTY", text.to_owned())));
    } else {
        let reason = match name {
            _ if rules.is_id() => "ID_MALFORMED",
            "handle" => "HANDLE_INVALID",
            _ => "FIELD_INVALID",
        };
        let good = text(rules, Size::Least);
        let shorter = rules.min_chars.map_or_else(String::new, |least| "a".repeat(least - 1));
        let longer = "a".repeat(rules.max_chars.or(rules.max_bytes).unwrap_or(good.len()) + 1);
        let other =
            [" ", "é", "\u{1}", "A", "-"].map(|letter| format!("{}{letter}", good.get(1..).unwrap_or_default()));
        let candidates = [shorter, longer, good.to_ascii_uppercase(), String::new()].into_iter().chain(other);
        wrong.extend(candidates.filter(|text| !rules.allow(text)).map(|text| (reason, text)));
    }
    wrong.into_iter().map(|(reason, text)| Wrong::of(path, reason, Value::String(text))).collect()
}
