//! Where a visitor stands: a value, the way that led to it, and the dialect that it is written in.
//!
//! QEMU's errors name the faulty parameter by its whole path (`addr.port`, `hostfwd[0].str`), except for values
//! out of range, which lose all but the last component. Building path strings on the way down would cost every
//! good command for the sake of the bad ones; so the path is a chain of borrowed steps on the stack, spelled out
//! only when something is wrong.

use std::fmt;

use serde_json::{Map, Value};

use super::super::answer::QmpError;

/// In what form the values came; the rules differ for scalars, lists and unknown members.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dialect {
    /// JSON: strictly typed.
    Json,
    /// `key.sub=value`, as QEMU's newer options (`-netdev stream`, `-object`): scalars are strings.
    Keyval,
    /// `key=value`, as QEMU's older options (`-netdev tap`): one level deep, lists are repeated keys.
    Opts,
}

/// The way to a value.
#[derive(Debug, Clone, Copy)]
pub struct Path<'a> {
    parent: Option<&'a Path<'a>>,
    step: Step<'a>,
}

#[derive(Debug, Clone, Copy)]
enum Step<'a> {
    Root,
    Member(&'a str),
    Element(usize),
    KeyvalElement(usize),
}

impl Path<'_> {
    /// Where every visit begins: a command's arguments, an option's text.
    pub const ROOT: Self = Path { parent: None, step: Step::Root };

    /// The last component. Elements of lists have no name, which QEMU prints as `null`.
    #[must_use]
    pub fn last(&self) -> &str {
        match self.step {
            Step::Member(name) => name,
            Step::Root | Step::Element(_) | Step::KeyvalElement(_) => "null",
        }
    }

    fn is_root(&self) -> bool {
        matches!(self.step, Step::Root)
    }
}

impl fmt::Display for Path<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(parent) = self.parent.filter(|parent| !parent.is_root()) {
            parent.fmt(out)?;
        }
        match self.step {
            Step::Root => out.write_str("<anonymous>"),
            Step::Member(name) if self.parent.is_none_or(Path::is_root) => out.write_str(name),
            Step::Member(name) => write!(out, ".{name}"),
            Step::Element(index) => write!(out, "[{index}]"),
            Step::KeyvalElement(index) => write!(out, ".{index}"),
        }
    }
}

/// A value and where it stands.
#[derive(Debug, Clone, Copy)]
pub struct Place<'a> {
    pub(super) value: &'a Value,
    pub(super) path: Path<'a>,
    pub(super) dialect: Dialect,
}

impl<'a> Place<'a> {
    /// The whole of what came.
    #[must_use]
    pub fn root(value: &'a Value, dialect: Dialect) -> Self {
        Self { value, path: Path::ROOT, dialect }
    }

    /// The value itself, for types that take anything.
    #[must_use]
    pub fn value(&self) -> &'a Value {
        self.value
    }

    /// Wrong type.
    #[must_use]
    pub fn wrong_type(&self, expected: &str) -> QmpError {
        QmpError::invalid_type(&self.path.to_string(), expected)
    }

    /// Right type, but out of range: names only the last component.
    #[must_use]
    pub fn out_of_range(&self, expected: &str) -> QmpError {
        QmpError::expects(self.path.last(), expected)
    }

    /// Right type, but no such value: names only the last component.
    #[must_use]
    pub fn not_accepted(&self, value: &str) -> QmpError {
        QmpError::not_accepted(self.path.last(), value)
    }

    /// The elements of a list.
    pub fn elements(&self) -> Result<Vec<Place<'_>>, QmpError> {
        let values = match (self.value, self.dialect) {
            (Value::Array(values), _) => values.as_slice(),
            (single, Dialect::Opts) => std::slice::from_ref(single),
            (_, Dialect::Json | Dialect::Keyval) => return Err(self.wrong_type("array")),
        };
        Ok(values.iter().enumerate().map(|(index, value)| self.element(index, value)).collect())
    }

    fn element<'b>(&'b self, index: usize, value: &'b Value) -> Place<'b> {
        let step = match self.dialect {
            Dialect::Keyval => Step::KeyvalElement(index),
            Dialect::Json | Dialect::Opts => Step::Element(index),
        };
        Place { value, path: Path { parent: Some(&self.path), step }, dialect: self.dialect }
    }
}

/// The members of an object while a type reads them.
#[derive(Debug)]
pub struct Members<'a> {
    place: Place<'a>,
    source: Source<'a>,
    asked: Vec<&'static str>,
}

#[derive(Debug)]
enum Source<'a> {
    Object(&'a Map<String, Value>),
    /// One of several `hostfwd=...`: an object of one member, whose value is all that was written.
    OnlyMember(&'a Value),
}

impl<'a> Members<'a> {
    /// Starts reading the object at `place`.
    pub fn open(place: &Place<'a>) -> Result<Self, QmpError> {
        let source = match (place.value, place.dialect) {
            (Value::Object(object), _) => Source::Object(object),
            (value, Dialect::Opts) => Source::OnlyMember(value),
            (_, Dialect::Json | Dialect::Keyval) => return Err(place.wrong_type("object")),
        };
        Ok(Self { place: *place, source, asked: Vec::new() })
    }

    /// The member `name`, which from now on belongs to the type that reads.
    pub fn find(&mut self, name: &'static str) -> Option<Place<'_>> {
        self.asked.push(name);
        let value = match self.source {
            Source::Object(object) => object.get(name)?,
            Source::OnlyMember(value) => value,
        };
        Some(Place { value, path: self.path_to(name), dialect: self.place.dialect })
    }

    /// The member is mandatory and was not found.
    #[must_use]
    pub fn missing(&self, name: &str) -> QmpError {
        QmpError::missing(&self.path_to(name).to_string())
    }

    /// Refuses members that nobody asked for.
    pub fn close(self) -> Result<(), QmpError> {
        let Source::Object(object) = self.source else { return Ok(()) };
        let Some(stray) = object.keys().find(|key| !self.asked.contains(&key.as_str())) else {
            return Ok(());
        };
        Err(match self.place.dialect {
            Dialect::Json | Dialect::Keyval => QmpError::unexpected(&self.path_to(stray).to_string()),
            Dialect::Opts => QmpError::generic(format!("Invalid parameter '{stray}'")),
        })
    }

    fn path_to<'b>(&'b self, name: &'b str) -> Path<'b> {
        Path { parent: Some(&self.place.path), step: Step::Member(name) }
    }
}
