use crate::Kind;

/// A column of a key or of a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Column {
    pub name: &'static str,
    pub kind: Kind,
}

impl Column {
    pub const fn text(name: &'static str) -> Self {
        Self { name, kind: Kind::Text }
    }

    pub const fn bigint(name: &'static str) -> Self {
        Self { name, kind: Kind::BigInt }
    }

    pub const fn timestamp(name: &'static str) -> Self {
        Self { name, kind: Kind::Timestamp }
    }
}
