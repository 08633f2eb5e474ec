//! QAPI: the types of the protocol, each defined once.
//!
//! QEMU generates its border from a schema with a program: a C type, a visitor, an introspection entry and a
//! command-line parser of each definition. Written by hand four times, they drift apart; written as serde
//! derives, they accept what QEMU refuses and refuse in words that no client knows. So each type is declared
//! once, with one of the macros of [`define`], and the declaration gives
//!
//! * the Rust type,
//! * [`QapiType::visit`]: reading from JSON or from `key=value` options with QEMU's rules, order and texts,
//! * [`QapiType::print`]: writing it back (answers, the saved inventory, `info network`),
//! * [`QapiType::describe`]: its entry in `query-qmp-schema`.
//!
//! The rules of reading (qmp.md 1.6): members are looked at in the order of the declaration, the first fault
//! wins, members that nobody asked for are looked for last.

pub mod builtin;
pub mod define;
pub mod number;
pub mod options;
pub mod place;
pub mod schema;

use serde_json::{Map, Value};

use super::answer::QmpError;
pub use builtin::{Anything, Nothing, Size};
pub use place::{Dialect, Members, Path, Place};
pub use schema::Schema;
use schema::{SchemaMember, SchemaVariant, Shape};

/// A type of the protocol.
pub trait QapiType: Sized + 'static {
    /// Reads a value, or says in QEMU's words what is wrong with it.
    fn visit(place: &Place<'_>) -> Result<Self, QmpError>;

    /// The value as JSON, members in the order of the declaration.
    fn print(&self) -> Value;

    /// The name by which the schema refers to this type; makes its entry when it is asked for the first time.
    fn describe(schema: &mut Schema) -> String;
}

/// What may stand as a member of an object: a type, or an [`Option`] of one.
pub trait Member: Sized {
    /// Reads the member `name`.
    fn take(members: &mut Members<'_>, name: &'static str) -> Result<Self, QmpError>;

    /// Writes the member; one that is absent writes nothing.
    fn put(&self, name: &'static str, object: &mut Map<String, Value>);

    /// The member as the schema lists it.
    fn entry(name: &'static str, features: &[&'static str], schema: &mut Schema) -> SchemaMember;
}

impl<T: QapiType> Member for T {
    fn take(members: &mut Members<'_>, name: &'static str) -> Result<Self, QmpError> {
        match members.find(name) {
            Some(place) => T::visit(&place),
            None => Err(members.missing(name)),
        }
    }

    fn put(&self, name: &'static str, object: &mut Map<String, Value>) {
        object.insert(name.to_owned(), self.print());
    }

    fn entry(name: &'static str, features: &[&'static str], schema: &mut Schema) -> SchemaMember {
        SchemaMember::mandatory(name, T::describe(schema), features)
    }
}

impl<T: QapiType> Member for Option<T> {
    fn take(members: &mut Members<'_>, name: &'static str) -> Result<Self, QmpError> {
        members.find(name).map(|place| T::visit(&place)).transpose()
    }

    fn put(&self, name: &'static str, object: &mut Map<String, Value>) {
        if let Some(value) = self {
            object.insert(name.to_owned(), value.print());
        }
    }

    fn entry(name: &'static str, features: &[&'static str], schema: &mut Schema) -> SchemaMember {
        SchemaMember::optional(name, T::describe(schema), features)
    }
}

/// A type whose value is a JSON object, seen from inside: what a union needs, whose variants share one object
/// with their tag.
pub trait Object: QapiType {
    /// Reads the members that belong to this type and leaves the others alone.
    fn read(members: &mut Members<'_>) -> Result<Self, QmpError>;

    /// Adds the members to an object that others write to as well.
    fn write(&self, object: &mut Map<String, Value>);

    /// What the schema says of the inside.
    fn shape(schema: &mut Schema) -> Shape;
}

/// Reads a whole object: its members, then the search for what does not belong there.
pub fn visit_object<T: Object>(place: &Place<'_>) -> Result<T, QmpError> {
    let mut members = Members::open(place)?;
    let object = T::read(&mut members)?;
    members.close()?;
    Ok(object)
}

/// Prints a whole object.
pub fn print_object<T: Object>(value: &T) -> Value {
    let mut object = Map::new();
    value.write(&mut object);
    Value::Object(object)
}

/// One case of a union.
#[derive(Debug)]
pub struct Variant<U> {
    /// The tag's value.
    pub case: &'static str,
    /// Reads the members of this case.
    pub read: fn(&mut Members<'_>) -> Result<U, QmpError>,
    /// The type of this case, for the schema.
    pub describe: fn(&mut Schema) -> String,
}

/// A tagged ("flat") union: an enum of which the object's tag member selects the variant.
pub trait Union: Object {
    /// Name of the tag member.
    const TAG: &'static str;
    /// All cases.
    const VARIANTS: &'static [Variant<Self>];

    /// The tag of this value.
    fn case(&self) -> &'static str;

    /// Writes tag and variant.
    fn write_variant(&self, object: &mut Map<String, Value>);

    /// Reads the tag. Apart from the rest, because common members may stand between tag and variant.
    fn pick(members: &mut Members<'_>) -> Result<&'static Variant<Self>, QmpError> {
        let Some(place) = members.find(Self::TAG) else { return Err(members.missing(Self::TAG)) };
        let text = place.text()?;
        let variant = Self::VARIANTS.iter().find(|variant| variant.case == text);
        variant.ok_or_else(|| place.not_accepted(text))
    }

    /// Tag and variants as the schema lists them.
    fn describe_variants(schema: &mut Schema) -> (SchemaMember, Vec<SchemaVariant>) {
        let tag_type = schema.enumeration_of_cases::<Self>();
        let describe = |variant: &Variant<Self>| SchemaVariant {
            case: variant.case.to_owned(),
            of_type: (variant.describe)(schema),
        };
        let variants = Self::VARIANTS.iter().map(describe).collect();
        (SchemaMember::mandatory(Self::TAG, tag_type, &[]), variants)
    }
}

/// Large options travel in a box, so that small ones need not pay for them.
impl<T: QapiType> QapiType for Box<T> {
    fn visit(place: &Place<'_>) -> Result<Self, QmpError> {
        T::visit(place).map(Self::new)
    }

    fn print(&self) -> Value {
        T::print(self)
    }

    fn describe(schema: &mut Schema) -> String {
        T::describe(schema)
    }
}

impl<T: Object> Object for Box<T> {
    fn read(members: &mut Members<'_>) -> Result<Self, QmpError> {
        T::read(members).map(Self::new)
    }

    fn write(&self, object: &mut Map<String, Value>) {
        T::write(self, object);
    }

    fn shape(schema: &mut Schema) -> Shape {
        T::shape(schema)
    }
}

#[cfg(test)]
mod test;
