use crate::{Column, Value};

/// Which section of a table a row is in; see [`crate::Section`].
pub type SectionId = i32;

/// The values of a table's partition columns.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key(pub Vec<Value>);

impl Key {
    /// A partition key of one text column, as most are.
    pub fn text(text: &str) -> Self {
        Self(vec![text.into()])
    }
}

/// Which row of a table partition.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RowKey {
    pub section: SectionId,
    pub clustering: Vec<Value>,
}

impl RowKey {
    pub fn of<R: RowType>(clustering: impl IntoIterator<Item = Value>) -> Self {
        Self { section: R::SECTION, clustering: clustering.into_iter().collect() }
    }
}

/// A stored row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    pub key: RowKey,
    /// One value for each column of the row's section, in the order of its declaration.
    pub columns: Vec<Value>,
    /// The offset of the record that last wrote the row, in the log partition that owns it.
    pub position: u64,
}

/// What is written at a row's place, at a position of the log partition that owns it: the row, whole, or its removal.
///
/// Of two writes of one row the one at the higher position stands, whichever comes first; of two at one position the
/// removal, and two rows at one position are the same row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Write {
    pub key: RowKey,
    /// One value for each column of the row's section; `None`: the row is removed.
    pub columns: Option<Vec<Value>>,
    /// The offset of the record that it comes from.
    pub position: u64,
}

impl Write {
    /// Removes the row, and each version of it at or below `position` that a late writer may bring.
    pub fn removal(key: RowKey, position: u64) -> Self {
        Self { key, columns: None, position }
    }

    pub fn is_removal(&self) -> bool {
        self.columns.is_none()
    }

    /// The row that it leaves.
    pub fn into_row(self) -> Option<Row> {
        let Self { key, columns, position } = self;
        columns.map(|columns| Row { key, columns, position })
    }

    /// Of two writes of one row the one of the greater rank stands: the later one, at one position the removal.
    pub fn rank(&self) -> (u64, bool) {
        (self.position, self.is_removal())
    }

    /// Whether it changes what `there` has left of the same row.
    pub fn stands_over(&self, there: &Self) -> bool {
        self.rank() > there.rank()
    }
}

impl From<Row> for Write {
    fn from(row: Row) -> Self {
        Self { key: row.key, columns: Some(row.columns), position: row.position }
    }
}

impl Row {
    /// The row read as its type; `None` when a column is missing or of another kind.
    pub fn read<R: RowType>(&self) -> Option<R> {
        R::from_columns(self.columns.clone())
    }
}

/// Consecutive rows of one section.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Slice {
    pub range: RowRange,
    /// At most [`crate::MAX_SLICE_ROWS`].
    pub limit: usize,
}

/// Where a slice starts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RowRange {
    pub section: SectionId,
    /// Values of the first clustering columns that all rows share; may be empty.
    pub prefix: Vec<Value>,
    /// Values of the clustering columns after the prefix; the slice starts after that place (all of the columns, or the
    /// first of them: then after every row that starts so). `None`: at the beginning.
    pub after: Option<Vec<Value>>,
}

impl RowRange {
    /// All rows of type `R`.
    pub fn all<R: RowType>() -> Self {
        Self { section: R::SECTION, prefix: Vec::new(), after: None }
    }
}

/// A Rust struct that is a section's row; [`crate::row!`] writes the implementation.
pub trait RowType: Sized {
    const SECTION: SectionId;
    const COLUMNS: &'static [Column];
    fn into_columns(self) -> Vec<Value>;
    fn from_columns(columns: Vec<Value>) -> Option<Self>;
}

/// No columns: the summary of a table that has none.
impl RowType for () {
    const SECTION: SectionId = 0;
    const COLUMNS: &'static [Column] = &[];

    fn into_columns(self) -> Vec<Value> {
        Vec::new()
    }

    fn from_columns(_: Vec<Value>) -> Option<Self> {
        Some(())
    }
}

/// Declares a struct whose fields are the columns of a section, in order.
///
/// ```
/// kith_tables::row! {
///     /// One account's standing reaction.
///     #[derive(Debug, Clone, Default, PartialEq)]
///     pub struct ReactionRow in 0 {
///         pub kind: String,
///         pub count: i64,
///     }
/// }
/// ```
#[macro_export]
macro_rules! row {
    ($(#[$meta:meta])* $vis:vis struct $name:ident in $section:literal {
        $($(#[$field_meta:meta])* $field_vis:vis $field:ident: $type:ty),* $(,)?
    }) => {
        $(#[$meta])*
        $vis struct $name { $($(#[$field_meta])* $field_vis $field: $type),* }

        impl $crate::RowType for $name {
            const SECTION: $crate::SectionId = $section;
            const COLUMNS: &'static [$crate::Column] =
                &[$($crate::Column { name: stringify!($field), kind: <$type as $crate::Cell>::KIND }),*];

            fn into_columns(self) -> Vec<$crate::Value> {
                vec![$(<$type as $crate::Cell>::into_value(self.$field)),*]
            }

            fn from_columns(columns: Vec<$crate::Value>) -> Option<Self> {
                let mut columns = columns.into_iter();
                Some(Self { $($field: <$type as $crate::Cell>::from_value(columns.next()?)?),* })
            }
        }
    };
}
