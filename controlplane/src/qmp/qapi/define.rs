//! The macros by which types of the protocol are declared.
//!
//! They are `macro_rules!`, not a derive in a crate of its own: what they expand to is short calls of the traits
//! in the parent module, and who wants to know what a declaration means can read it here on one screen.
//!
//! ```text
//! enumeration! { pub enum Mode { Native = "native", Skb = "skb" } }
//! object!      { pub struct Tap { ifname: Option<String>, poll_us as "poll-us": Option<u32> } }
//! union!       { pub enum Address by "type" { Unix(UnixAddress) = "unix", Fd(FdAddress) = "fd" } }
//! ```
//!
//! A member is called on the wire as in Rust unless `as` says otherwise; `["unstable"]` behind the name gives it
//! features; `..field: SomeUnion` at the end of an object says that it carries that union's tag and variants.

/// The name of a member on the wire.
macro_rules! wire_name {
    ($field:ident) => {
        stringify!($field)
    };
    ($field:ident $wire:literal) => {
        $wire
    };
}

/// Declares an enumeration: strings with a fixed meaning.
macro_rules! enumeration {
    (
        $(#[$meta:meta])*
        pub enum $name:ident { $( $(#[$variant_meta:meta])* $variant:ident = $wire:literal ),* $(,)? }
    ) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum $name { $( $(#[$variant_meta])* $variant ),* }

        impl $name {
            /// All values, in the order of the schema.
            pub const ALL: &'static [Self] = &[$(Self::$variant),*];

            /// The value as it is spelled on the wire.
            #[must_use]
            pub fn name(self) -> &'static str {
                match self { $(Self::$variant => $wire),* }
            }
        }

        impl $crate::qmp::qapi::QapiType for $name {
            fn visit(
                place: &$crate::qmp::qapi::Place<'_>,
            ) -> Result<Self, $crate::qmp::answer::QmpError> {
                let text = place.text()?;
                let value = Self::ALL.iter().copied().find(|value| value.name() == text);
                value.ok_or_else(|| place.not_accepted(text))
            }

            fn print(&self) -> serde_json::Value {
                serde_json::Value::from(self.name())
            }

            fn describe(schema: &mut $crate::qmp::qapi::Schema) -> String {
                let names: Vec<&str> = Self::ALL.iter().map(|value| value.name()).collect();
                schema.enumeration(std::any::TypeId::of::<Self>(), &names)
            }
        }
    };
}

/// Declares an object. All members are public.
macro_rules! object {
    (
        $(#[$meta:meta])*
        pub struct $name:ident {
            $(
                $(#[$field_meta:meta])*
                $field:ident $(as $wire:literal)? $([$($feature:literal),+])? : $type:ty,
            )*
            $( ..$variants:ident: $union:ty $(,)? )?
        }
    ) => {
        $(#[$meta])*
        #[derive(Debug, Clone, PartialEq, Eq)]
        pub struct $name {
            $( $(#[$field_meta])* pub $field: $type, )*
            $(
                /// What the tag selects.
                pub $variants: $union,
            )?
        }

        impl $crate::qmp::qapi::Object for $name {
            fn read(
                members: &mut $crate::qmp::qapi::Members<'_>,
            ) -> Result<Self, $crate::qmp::answer::QmpError> {
                $( let $field = $crate::qmp::qapi::Member::take(members, $crate::qmp::qapi::define::wire_name!($field $($wire)?))?; )*
                $( let $variants = <$union as $crate::qmp::qapi::Object>::read(members)?; )?
                Ok(Self { $($field,)* $($variants,)? })
            }

            fn write(&self, object: &mut serde_json::Map<String, serde_json::Value>) {
                $( $crate::qmp::qapi::Member::put(&self.$field, $crate::qmp::qapi::define::wire_name!($field $($wire)?), object); )*
                $( $crate::qmp::qapi::Union::write_variant(&self.$variants, object); )?
            }

            #[allow(unused_mut, reason = "plain objects have no variants to add")]
            fn shape(schema: &mut $crate::qmp::qapi::Schema) -> $crate::qmp::qapi::schema::Shape {
                let mut shape = $crate::qmp::qapi::schema::Shape {
                    members: vec![$(
                        <$type as $crate::qmp::qapi::Member>::entry(
                            $crate::qmp::qapi::define::wire_name!($field $($wire)?), &[$($($feature),+)?], schema,
                        ),
                    )*],
                    ..Default::default()
                };
                $(
                    let (tag, variants) = <$union as $crate::qmp::qapi::Union>::describe_variants(schema);
                    shape.tag = Some(tag.name.clone());
                    shape.members.push(tag);
                    shape.variants = Some(variants);
                )?
                shape
            }
        }

        $crate::qmp::qapi::define::qapi_type_of_object!($name);
    };
}

/// Declares a tagged union.
macro_rules! union {
    (
        $(#[$meta:meta])*
        pub enum $name:ident by $tag:literal {
            $( $(#[$variant_meta:meta])* $variant:ident($type:ty) = $wire:literal ),+ $(,)?
        }
    ) => {
        $(#[$meta])*
        #[derive(Debug, Clone, PartialEq, Eq)]
        pub enum $name { $( $(#[$variant_meta])* $variant($type) ),+ }

        impl $crate::qmp::qapi::Union for $name {
            const TAG: &'static str = $tag;
            const VARIANTS: &'static [$crate::qmp::qapi::Variant<Self>] = &[$(
                $crate::qmp::qapi::Variant {
                    case: $wire,
                    read: |members| <$type as $crate::qmp::qapi::Object>::read(members).map(Self::$variant),
                    describe: |schema| <$type as $crate::qmp::qapi::QapiType>::describe(schema),
                },
            )+];

            fn case(&self) -> &'static str {
                match self { $(Self::$variant(_) => $wire),+ }
            }

            fn write_variant(&self, object: &mut serde_json::Map<String, serde_json::Value>) {
                object.insert($tag.to_owned(), serde_json::Value::from(self.case()));
                match self { $(Self::$variant(of_case) => $crate::qmp::qapi::Object::write(of_case, object)),+ }
            }
        }

        impl $crate::qmp::qapi::Object for $name {
            fn read(
                members: &mut $crate::qmp::qapi::Members<'_>,
            ) -> Result<Self, $crate::qmp::answer::QmpError> {
                let variant = <Self as $crate::qmp::qapi::Union>::pick(members)?;
                (variant.read)(members)
            }

            fn write(&self, object: &mut serde_json::Map<String, serde_json::Value>) {
                $crate::qmp::qapi::Union::write_variant(self, object);
            }

            fn shape(schema: &mut $crate::qmp::qapi::Schema) -> $crate::qmp::qapi::schema::Shape {
                let (tag, variants) = <Self as $crate::qmp::qapi::Union>::describe_variants(schema);
                $crate::qmp::qapi::schema::Shape {
                    tag: Some(tag.name.clone()),
                    members: vec![tag],
                    variants: Some(variants),
                }
            }
        }

        $crate::qmp::qapi::define::qapi_type_of_object!($name);
    };
}

/// Objects and unions are types by what they are inside.
macro_rules! qapi_type_of_object {
    ($name:ident) => {
        impl $crate::qmp::qapi::QapiType for $name {
            fn visit(place: &$crate::qmp::qapi::Place<'_>) -> Result<Self, $crate::qmp::answer::QmpError> {
                $crate::qmp::qapi::visit_object(place)
            }

            fn print(&self) -> serde_json::Value {
                $crate::qmp::qapi::print_object(self)
            }

            fn describe(schema: &mut $crate::qmp::qapi::Schema) -> String {
                schema.object(std::any::TypeId::of::<Self>(), <Self as $crate::qmp::qapi::Object>::shape)
            }
        }
    };
}

pub(crate) use {enumeration, object, qapi_type_of_object, union, wire_name};
