//! Conversion of values to and from the server.

use scylla::cluster::metadata::{CollectionType, ColumnType};
use scylla::deserialize::row::{ColumnIterator, DeserializeRow};
use scylla::deserialize::{DeserializationError, TypeCheckError};
use scylla::frame::response::result::ColumnSpec;
use scylla::serialize::SerializationError;
use scylla::serialize::value::SerializeValue;
use scylla::serialize::writers::{CellOverflowError, CellWriter, WrittenCellProof};

use crate::{Kind, RowKey, StoreError, Timestamp, Value};

/// The value of one `?`. There is no null: every column of a row has a value, the others are not in the statement.
#[derive(Debug)]
pub(super) enum Bound<'a> {
    Value(&'a Value),
    Section(i32),
    /// A write time, or a number of rows.
    Time(i64),
    Limit(i32),
    /// A list of tuples: section, clustering columns.
    Keys(&'a [RowKey]),
}

impl SerializeValue for Bound<'_> {
    fn serialize<'b>(
        &self,
        typ: &ColumnType,
        writer: CellWriter<'b>,
    ) -> Result<WrittenCellProof<'b>, SerializationError> {
        match self {
            Self::Value(value) => serialize_value(value, typ, writer),
            Self::Section(number) | Self::Limit(number) => number.serialize(typ, writer),
            Self::Time(time) => time.serialize(typ, writer),
            Self::Keys(keys) => serialize_keys(keys, typ, writer),
        }
    }
}

fn serialize_value<'b>(
    value: &Value,
    typ: &ColumnType,
    writer: CellWriter<'b>,
) -> Result<WrittenCellProof<'b>, SerializationError> {
    match value {
        Value::Text(text) => text.serialize(typ, writer),
        Value::BigInt(number) => number.serialize(typ, writer),
        Value::Bool(yes) => yes.serialize(typ, writer),
        Value::Timestamp(Timestamp(micros)) => micros.serialize(typ, writer),
        Value::Blob(bytes) => bytes.serialize(typ, writer),
    }
}

fn serialize_keys<'b>(
    keys: &[RowKey],
    typ: &ColumnType,
    writer: CellWriter<'b>,
) -> Result<WrittenCellProof<'b>, SerializationError> {
    let ColumnType::Collection { typ: CollectionType::List(element), .. } = typ else {
        return Err(SerializationError::new(NotOfThatType));
    };
    let mut list = writer.into_value_builder();
    let count = i32::try_from(keys.len()).map_err(|_| SerializationError::new(CellOverflowError))?;
    list.append_bytes(&count.to_be_bytes());
    for key in keys {
        match &**element {
            ColumnType::Tuple(types) => serialize_key(key, types, list.make_sub_writer())?,
            single => key.section.serialize(single, list.make_sub_writer())?,
        };
    }
    list.finish().map_err(SerializationError::new)
}

fn serialize_key<'b>(
    key: &RowKey,
    types: &[ColumnType],
    writer: CellWriter<'b>,
) -> Result<WrittenCellProof<'b>, SerializationError> {
    let Some((section, clustering)) = types.split_first().filter(|(_, rest)| rest.len() == key.clustering.len()) else {
        return Err(SerializationError::new(NotOfThatType));
    };
    let mut tuple = writer.into_value_builder();
    key.section.serialize(section, tuple.make_sub_writer())?;
    for (value, typ) in key.clustering.iter().zip(clustering) {
        serialize_value(value, typ, tuple.make_sub_writer())?;
    }
    tuple.finish().map_err(SerializationError::new)
}

#[derive(Debug, thiserror::Error)]
#[error("row keys for something that is no list of such keys")]
struct NotOfThatType;

/// A row of an answer, with raw cells. Its types are those of the statement, checked when the keyspace was opened.
pub(super) struct Cells<'frame>(pub Vec<Option<&'frame [u8]>>);

impl<'frame, 'metadata> DeserializeRow<'frame, 'metadata> for Cells<'frame> {
    fn type_check(_: &[ColumnSpec]) -> Result<(), TypeCheckError> {
        Ok(())
    }

    fn deserialize(columns: ColumnIterator<'frame, 'metadata>) -> Result<Self, DeserializationError> {
        columns.map(|column| Ok(column?.slice.map(|slice| slice.as_slice()))).collect::<Result<_, _>>().map(Self)
    }
}

impl Cells<'_> {
    pub fn value(&self, index: usize, kind: Kind) -> Result<Value, StoreError> {
        let cell = self.cell(index)?;
        Ok(match kind {
            Kind::Text => Value::Text(str::from_utf8(cell).map_err(|_| damaged())?.to_owned()),
            Kind::BigInt => Value::BigInt(self.bigint(index)?),
            Kind::Bool => Value::Bool(fixed(cell)? != [0]),
            Kind::Timestamp => Value::Timestamp(Timestamp(self.bigint(index)?)),
            Kind::Blob => Value::Blob(cell.to_vec().into()),
        })
    }

    pub fn int(&self, index: usize) -> Result<i32, StoreError> {
        fixed(self.cell(index)?).map(i32::from_be_bytes)
    }

    pub fn bigint(&self, index: usize) -> Result<i64, StoreError> {
        fixed(self.cell(index)?).map(i64::from_be_bytes)
    }

    fn cell(&self, index: usize) -> Result<&[u8], StoreError> {
        self.0.get(index).copied().flatten().ok_or_else(damaged)
    }
}

fn fixed<const N: usize>(cell: &[u8]) -> Result<[u8; N], StoreError> {
    cell.try_into().map_err(|_| damaged())
}

fn damaged() -> StoreError {
    StoreError::Damaged("a row has a column without a value, or not of its type".to_owned())
}
