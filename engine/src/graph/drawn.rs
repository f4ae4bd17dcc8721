//! Values that are made once for each row: the step's time, random numbers.

use arrow::datatypes::{DataType, TimeUnit};

use crate::format::uuid::UUID;

/// Values that are made once for each row, when it comes, and go with it. Output: the input's
/// columns, then one for each value. Where rows are remembered, the input is dealt by all its columns
/// ([`super::Exchange::Single`] if there are none).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DrawSpec {
    /// The values.
    pub values: Vec<Drawn>,
    /// The input deletes: rows are remembered with their values, so that these can be taken away.
    pub keeps: bool,
    /// Tells it from others in its graph over the same rows, which draw values of their own.
    pub number: usize,
}

/// A value that differs each time it is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Drawn {
    /// The step's time: TIMESTAMP(6).
    Now,
    /// A DOUBLE from 0 to below 1.
    Random,
    /// A random UUID (RFC 9562, version 4).
    Uuid,
}

impl Drawn {
    /// As SQL writes it.
    pub fn text(self) -> &'static str {
        match self {
            Drawn::Now => "now()",
            Drawn::Random => "random()",
            Drawn::Uuid => "uuid()",
        }
    }

    /// The type of its column.
    pub fn data_type(self) -> DataType {
        match self {
            Drawn::Now => DataType::Timestamp(TimeUnit::Microsecond, None),
            Drawn::Random => DataType::Float64,
            Drawn::Uuid => UUID,
        }
    }
}
