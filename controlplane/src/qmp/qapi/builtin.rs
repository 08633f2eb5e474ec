//! The types that QAPI has without declaring them: text, truth, numbers, lists, and nothing.
//!
//! Numbers are where QEMU is full of history. A signed member of any width is read as int64 and an unsigned one
//! as uint64, each with its own text for a wrong type, and narrowed afterwards with a third text; negative
//! integers are accepted for uint64 and wrap (but not in the older options). In options all scalars are strings, and the older option syntax has
//! texts of its own.

use std::any::TypeId;

use serde_json::{Map, Value};

use super::super::answer::QmpError;
use super::number::{Base, size, whole_integer};
use super::schema::{JsonType, Schema, Shape};
use super::{Dialect, Members, Object, Place, QapiType, print_object, visit_object};

/// A number of bytes: as uint64, and with suffixes (`1M`) where options are texts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Size(pub u64);

/// Any JSON value at all (`any`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Anything(pub Value);

/// The object without members: arguments of commands that take none, the answer of those that only do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Nothing {}

impl<'a> Place<'a> {
    /// The text of an option; of a repeated option the last.
    fn option_text(&self) -> Result<&'a str, QmpError> {
        let value = match (self.value, self.dialect) {
            (Value::Array(values), Dialect::Opts) => values.last().unwrap_or(self.value),
            (value, Dialect::Json | Dialect::Keyval | Dialect::Opts) => value,
        };
        let nested = || QmpError::generic(format!("Parameters '{}.*' are unexpected", self.path));
        value.as_str().ok_or_else(nested)
    }

    /// A string.
    pub fn text(&self) -> Result<&'a str, QmpError> {
        match self.dialect {
            Dialect::Json => self.value.as_str().ok_or_else(|| self.wrong_type("string")),
            Dialect::Keyval | Dialect::Opts => self.option_text(),
        }
    }

    fn truth(&self) -> Result<bool, QmpError> {
        if self.dialect == Dialect::Json {
            return self.value.as_bool().ok_or_else(|| self.wrong_type("boolean"));
        }
        match self.option_text()? {
            "on" | "yes" | "true" | "y" => Ok(true),
            "off" | "no" | "false" | "n" => Ok(false),
            _ => Err(self.malformed("'on' or 'off'")),
        }
    }

    fn signed(&self) -> Result<i64, QmpError> {
        let expected = match self.dialect {
            Dialect::Json => return self.value.as_i64().ok_or_else(|| self.wrong_type("integer")),
            Dialect::Keyval => "integer",
            Dialect::Opts => "an int64 value",
        };
        let number = whole_integer(self.option_text()?, Base::Prefixed);
        number.and_then(|number| i64::try_from(number).ok()).ok_or_else(|| self.malformed(expected))
    }

    fn unsigned(&self) -> Result<u64, QmpError> {
        if self.dialect == Dialect::Json {
            return self.unsigned_json().ok_or_else(|| self.malformed("uint64"));
        }
        let text = self.option_text()?;
        let number = whole_integer(text, Base::Prefixed).and_then(wrap);
        if self.dialect == Dialect::Keyval {
            return number.ok_or_else(|| self.malformed("integer"));
        }
        number.filter(|_| !text.contains('-')).ok_or_else(|| self.malformed("a uint64 value"))
    }

    fn unsigned_json(&self) -> Option<u64> {
        self.value.as_u64().or_else(|| self.value.as_i64().map(i64::cast_unsigned))
    }

    fn size(&self) -> Result<u64, QmpError> {
        let expected = match self.dialect {
            Dialect::Json => return self.unsigned(),
            Dialect::Keyval => "size",
            Dialect::Opts => "a size value",
        };
        size(self.option_text()?).ok_or_else(|| self.malformed(expected))
    }

    /// A text that should have been something else: unlike [`Place::out_of_range`] with the whole path.
    fn malformed(&self, expected: &str) -> QmpError {
        QmpError::expects(&self.path.to_string(), expected)
    }
}

/// What C does to a number that is stored in a `uint64_t`, if it can be told from an overflow.
fn wrap(number: i128) -> Option<u64> {
    let negative = || i64::try_from(number).ok().map(i64::cast_unsigned);
    u64::try_from(number).ok().or_else(negative)
}

impl QapiType for String {
    fn visit(place: &Place<'_>) -> Result<Self, QmpError> {
        place.text().map(str::to_owned)
    }

    fn print(&self) -> Value {
        Value::from(self.as_str())
    }

    fn describe(schema: &mut Schema) -> String {
        schema.builtin("str", JsonType::String)
    }
}

impl QapiType for bool {
    fn visit(place: &Place<'_>) -> Result<Self, QmpError> {
        place.truth()
    }

    fn print(&self) -> Value {
        Value::from(*self)
    }

    fn describe(schema: &mut Schema) -> String {
        schema.builtin("bool", JsonType::Boolean)
    }
}

/// Integers of all widths are one type to the schema: `int`.
macro_rules! integer {
    ($type:ty, $read:ident, $c_name:literal) => {
        impl QapiType for $type {
            fn visit(place: &Place<'_>) -> Result<Self, QmpError> {
                Self::try_from(place.$read()?).map_err(|_| place.out_of_range($c_name))
            }

            fn print(&self) -> Value {
                Value::from(*self)
            }

            fn describe(schema: &mut Schema) -> String {
                schema.builtin("int", JsonType::Int)
            }
        }
    };
}

integer!(i32, signed, "int32_t");
integer!(i64, signed, "int64_t");
integer!(u16, unsigned, "uint16_t");
integer!(u32, unsigned, "uint32_t");
integer!(u64, unsigned, "uint64_t");

impl QapiType for Size {
    fn visit(place: &Place<'_>) -> Result<Self, QmpError> {
        place.size().map(Self)
    }

    fn print(&self) -> Value {
        Value::from(self.0)
    }

    fn describe(schema: &mut Schema) -> String {
        schema.builtin("int", JsonType::Int)
    }
}

impl QapiType for Anything {
    fn visit(place: &Place<'_>) -> Result<Self, QmpError> {
        Ok(Self(place.value().clone()))
    }

    fn print(&self) -> Value {
        self.0.clone()
    }

    fn describe(schema: &mut Schema) -> String {
        schema.builtin("any", JsonType::Value)
    }
}

impl<T: QapiType> QapiType for Vec<T> {
    fn visit(place: &Place<'_>) -> Result<Self, QmpError> {
        place.elements()?.iter().map(T::visit).collect()
    }

    fn print(&self) -> Value {
        self.iter().map(T::print).collect()
    }

    fn describe(schema: &mut Schema) -> String {
        let element = T::describe(schema);
        schema.array(&element)
    }
}

impl Object for Nothing {
    fn read(_members: &mut Members<'_>) -> Result<Self, QmpError> {
        Ok(Self {})
    }

    fn write(&self, _object: &mut Map<String, Value>) {}

    fn shape(_schema: &mut Schema) -> Shape {
        Shape::default()
    }
}

impl QapiType for Nothing {
    fn visit(place: &Place<'_>) -> Result<Self, QmpError> {
        visit_object(place)
    }

    fn print(&self) -> Value {
        print_object(self)
    }

    fn describe(schema: &mut Schema) -> String {
        schema.object(TypeId::of::<Self>(), Self::shape)
    }
}
