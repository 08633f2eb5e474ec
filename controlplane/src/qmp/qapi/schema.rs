//! `query-qmp-schema`: what the border looks like, in the border's own terms.
//!
//! libvirt and its like decide by this answer what they may send, so it must be complete (each type that is named
//! has an entry) and true. It is not a list kept beside the code: commands and events describe themselves, types
//! describe themselves when they are first named, and the entries are types of the protocol as well. As in QEMU
//! types are named by numbers, so that nobody comes to rely on names.

use std::any::TypeId;
use std::collections::HashMap;

use super::define::{enumeration, object, union};
use super::{Anything, Nothing, QapiType, Union, Variant};

enumeration! {
    /// What a builtin type is in JSON.
    pub enum JsonType {
        /// Text.
        String = "string",
        /// A number of any kind.
        Number = "number",
        /// Integer.
        Int = "int",
        /// Truth.
        Boolean = "boolean",
        /// `null`.
        Null = "null",
        /// An object.
        Object = "object",
        /// A list.
        Array = "array",
        /// Anything.
        Value = "value",
    }
}

object! {
    /// One entry of the schema.
    pub struct SchemaInfo {
        /// Name on the wire of commands and events; number of types.
        name: String,
        /// Features of a command.
        features: Option<Vec<String>>,
        ..meta: SchemaMeta,
    }
}

union! {
    /// The kinds of entries.
    pub enum SchemaMeta by "meta-type" {
        /// A type that needs no declaration.
        Builtin(SchemaBuiltin) = "builtin",
        /// A set of strings.
        Enum(SchemaEnum) = "enum",
        /// A list.
        Array(SchemaArray) = "array",
        /// A struct or a union.
        Object(Shape) = "object",
        /// A value of one of several types. No type here is one.
        Alternate(SchemaAlternate) = "alternate",
        /// A command.
        Command(SchemaCommand) = "command",
        /// An event.
        Event(SchemaEvent) = "event",
    }
}

object! {
    /// A builtin type.
    pub struct SchemaBuiltin {
        /// Its form in JSON.
        json_type as "json-type": JsonType,
    }
}

object! {
    /// An enumeration.
    pub struct SchemaEnum {
        /// The values with what is to be said of each.
        members: Vec<SchemaEnumMember>,
        /// The values alone, as older clients look for them.
        values ["deprecated"]: Vec<String>,
    }
}

object! {
    /// A value of an enumeration.
    pub struct SchemaEnumMember {
        /// The value.
        name: String,
        /// `unstable`, `deprecated`.
        features: Option<Vec<String>>,
    }
}

object! {
    /// A value of one of several types.
    pub struct SchemaAlternate {
        /// The types.
        members: Vec<SchemaAlternateMember>,
    }
}

object! {
    /// One of several types.
    pub struct SchemaAlternateMember {
        /// The type.
        of_type as "type": String,
    }
}

object! {
    /// A list.
    pub struct SchemaArray {
        /// Type of the elements.
        element_type as "element-type": String,
    }
}

object! {
    /// The inside of an object: its members, and its variants if it is a union.
    #[derive(Default)]
    pub struct Shape {
        /// Members that are always possible.
        members: Vec<SchemaMember>,
        /// Name of the member that selects a variant.
        tag: Option<String>,
        /// The variants.
        variants: Option<Vec<SchemaVariant>>,
    }
}

object! {
    /// A member of an object.
    pub struct SchemaMember {
        /// Its name.
        name: String,
        /// Its type.
        of_type as "type": String,
        /// There (and always `null`) if the member may be left out.
        default: Option<Anything>,
        /// `unstable`, `deprecated`.
        features: Option<Vec<String>>,
    }
}

object! {
    /// A variant of a union.
    pub struct SchemaVariant {
        /// Value of the tag.
        case: String,
        /// Type with the members of this variant.
        of_type as "type": String,
    }
}

object! {
    /// A command.
    pub struct SchemaCommand {
        /// Object with its arguments.
        arg_type as "arg-type": String,
        /// What it returns.
        ret_type as "ret-type": String,
        /// Whether it may be executed out of band; absent if not.
        allow_oob as "allow-oob": Option<bool>,
    }
}

object! {
    /// An event.
    pub struct SchemaEvent {
        /// Object with its data.
        arg_type as "arg-type": String,
    }
}

impl SchemaMember {
    /// A member that must be there.
    #[must_use]
    pub fn mandatory(name: &str, of_type: String, features: &[&str]) -> Self {
        Self { name: name.to_owned(), of_type, default: None, features: listed(features) }
    }

    /// A member that may be left out.
    #[must_use]
    pub fn optional(name: &str, of_type: String, features: &[&str]) -> Self {
        let default = Some(Anything(serde_json::Value::Null));
        Self { name: name.to_owned(), of_type, default, features: listed(features) }
    }
}

/// Features as the schema lists them: not at all if there are none.
fn listed(features: &[&str]) -> Option<Vec<String>> {
    (!features.is_empty()).then(|| features.iter().map(|&feature| feature.to_owned()).collect())
}

/// One Rust type may be two types of the schema: a union, and the enumeration of its cases.
#[derive(Debug, PartialEq, Eq, Hash)]
enum Key {
    Type(TypeId),
    CasesOf(TypeId),
    Named(String),
}

/// The schema while it is gathered.
#[derive(Debug)]
pub struct Schema {
    entries: Vec<SchemaInfo>,
    names: HashMap<Key, String>,
    numbers_used: usize,
}

impl Schema {
    /// A schema that knows nothing but the empty object, which is number 0 as in QEMU.
    #[must_use]
    pub fn new() -> Self {
        let mut schema = Self { entries: Vec::new(), names: HashMap::new(), numbers_used: 0 };
        Nothing::describe(&mut schema);
        schema
    }

    /// All entries.
    #[must_use]
    pub fn finish(self) -> Vec<SchemaInfo> {
        self.entries
    }

    /// Adds a command.
    pub fn command<Arguments: QapiType, Return: QapiType>(
        &mut self,
        name: &str,
        allow_oob: bool,
        features: &[&str],
    ) {
        let arg_type = Arguments::describe(self);
        let ret_type = Return::describe(self);
        let command = SchemaCommand { arg_type, ret_type, allow_oob: allow_oob.then_some(true) };
        let meta = SchemaMeta::Command(command);
        self.entries.push(SchemaInfo { name: name.to_owned(), features: listed(features), meta });
    }

    /// Adds an event.
    pub fn event<Data: QapiType>(&mut self, name: &str) {
        let meta = SchemaMeta::Event(SchemaEvent { arg_type: Data::describe(self) });
        self.entries.push(SchemaInfo { name: name.to_owned(), features: None, meta });
    }

    pub(super) fn builtin(&mut self, name: &str, json_type: JsonType) -> String {
        self.named(name.to_owned(), SchemaMeta::Builtin(SchemaBuiltin { json_type }))
    }

    pub(super) fn array(&mut self, element: &str) -> String {
        let meta = SchemaMeta::Array(SchemaArray { element_type: element.to_owned() });
        self.named(format!("[{element}]"), meta)
    }

    /// An object; `shape` is asked only the first time, and may well ask for the same object.
    pub fn object(&mut self, of: TypeId, shape: fn(&mut Self) -> Shape) -> String {
        self.numbered(Key::Type(of), |schema| SchemaMeta::Object(shape(schema)))
    }

    /// An enumeration.
    pub fn enumeration(&mut self, of: TypeId, values: &[&str]) -> String {
        self.numbered(Key::Type(of), |_| SchemaMeta::Enum(enumeration_of(values)))
    }

    /// The enumeration that the tag of a union is of.
    pub fn enumeration_of_cases<U: Union>(&mut self) -> String {
        let cases: Vec<&str> = U::VARIANTS.iter().map(|variant: &Variant<U>| variant.case).collect();
        self.numbered(Key::CasesOf(TypeId::of::<U>()), |_| SchemaMeta::Enum(enumeration_of(&cases)))
    }

    fn numbered(&mut self, key: Key, meta: impl FnOnce(&mut Self) -> SchemaMeta) -> String {
        if let Some(name) = self.names.get(&key) {
            return name.clone();
        }
        let name = self.numbers_used.to_string();
        self.numbers_used += 1;
        self.names.insert(key, name.clone());
        let meta = meta(self);
        self.entries.push(SchemaInfo { name: name.clone(), features: None, meta });
        name
    }

    fn named(&mut self, name: String, meta: SchemaMeta) -> String {
        let key = Key::Named(name.clone());
        if self.names.insert(key, name.clone()).is_none() {
            self.entries.push(SchemaInfo { name: name.clone(), features: None, meta });
        }
        name
    }
}

impl Default for Schema {
    fn default() -> Self {
        Self::new()
    }
}

fn enumeration_of(values: &[&str]) -> SchemaEnum {
    SchemaEnum {
        members: values
            .iter()
            .map(|&value| SchemaEnumMember { name: value.to_owned(), features: None })
            .collect(),
        values: values.iter().map(|&value| value.to_owned()).collect(),
    }
}
