use bytes::Bytes;
use kith_content::Content;

/// Microseconds since 1970. A CQL `bigint`: `timestamp` holds no more than milliseconds, and what a process does within one
/// has an order (ADR 18).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Timestamp(pub i64);

/// A cell's value. Every column always has a value: an absent one is the default of its kind.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Value {
    Text(String),
    BigInt(i64),
    Bool(bool),
    Timestamp(Timestamp),
    Blob(Bytes),
}

/// The type of a column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Text,
    BigInt,
    Bool,
    Timestamp,
    Blob,
}

impl Value {
    /// Bytes of the value, as counted by limits.
    pub fn size_bytes(&self) -> usize {
        match self {
            Self::Text(text) => text.len(),
            Self::Blob(bytes) => bytes.len(),
            Self::BigInt(_) | Self::Timestamp(_) => size_of::<i64>(),
            Self::Bool(_) => 1,
        }
    }

    pub fn kind(&self) -> Kind {
        match self {
            Self::Text(_) => Kind::Text,
            Self::BigInt(_) => Kind::BigInt,
            Self::Bool(_) => Kind::Bool,
            Self::Timestamp(_) => Kind::Timestamp,
            Self::Blob(_) => Kind::Blob,
        }
    }
}

impl Kind {
    /// The value for "nothing" in a column of this kind.
    pub fn default_value(self) -> Value {
        match self {
            Self::Text => Value::Text(String::new()),
            Self::BigInt => Value::BigInt(0),
            Self::Bool => Value::Bool(false),
            Self::Timestamp => Value::Timestamp(Timestamp(0)),
            Self::Blob => Value::Blob(Bytes::new()),
        }
    }
}

/// A Rust type that a column can hold.
pub trait Cell: Sized {
    const KIND: Kind;
    fn into_value(self) -> Value;
    /// `None` when the value is of another kind or not one of this type's.
    fn from_value(value: Value) -> Option<Self>;
}

/// Content stays closed in its column.
impl Cell for Content {
    const KIND: Kind = Kind::Blob;

    fn into_value(self) -> Value {
        Value::Blob(self.into_stored())
    }

    fn from_value(value: Value) -> Option<Self> {
        Bytes::from_value(value).and_then(Self::from_stored)
    }
}

/// Gives `Cell` and `From<_> for Value` to a type that one variant holds as it is.
macro_rules! cell {
    ($($type:ty => $variant:ident),* $(,)?) => {$(
        impl Cell for $type {
            const KIND: Kind = Kind::$variant;
            fn into_value(self) -> Value {
                Value::$variant(self)
            }
            fn from_value(value: Value) -> Option<Self> {
                match value {
                    Value::$variant(inner) => Some(inner),
                    _ => None,
                }
            }
        }
        impl From<$type> for Value {
            fn from(inner: $type) -> Self {
                Value::$variant(inner)
            }
        }
    )*};
}

cell!(String => Text, i64 => BigInt, bool => Bool, Timestamp => Timestamp, Bytes => Blob);

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}
