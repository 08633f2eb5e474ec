//! `device_add` and `object-add`: what comes and goes beside netdevs.

use std::any::TypeId;

use serde_json::{Map, Value};

use crate::qmp::answer::QmpError;
use crate::qmp::json;
use crate::qmp::qapi::define::{enumeration, object};
use crate::qmp::qapi::options::Opts;
use crate::qmp::qapi::schema::Shape;
use crate::qmp::qapi::{Dialect, Member, Place, QapiType, Schema};

/// Arguments of `device_add`, as they came. What is possible depends on the driver, so QEMU's schema names three
/// members, its visitor checks none, and the driver's properties refuse in their own words; so it is here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeviceAdd(pub Map<String, Value>);

impl DeviceAdd {
    /// Reads a `--device` option: JSON, or `driver,key=value`, whose values are texts.
    pub fn from_option(text: &str) -> Result<Self, QmpError> {
        let value = if text.starts_with('{') {
            json::from_text(text).map_err(QmpError::generic)?
        } else {
            Opts::parse(text, "driver").into_value()
        };
        Self::visit(&Place::root(&value, Dialect::Json))
    }

    fn shape(schema: &mut Schema) -> Shape {
        let members = vec![
            <String as Member>::entry("driver", &[], schema),
            <Option<String> as Member>::entry("bus", &[], schema),
            <Option<String> as Member>::entry("id", &[], schema),
        ];
        Shape { members, ..Shape::default() }
    }
}

impl QapiType for DeviceAdd {
    fn visit(place: &Place<'_>) -> Result<Self, QmpError> {
        place.value().as_object().cloned().map(Self).ok_or_else(|| place.wrong_type("object"))
    }

    fn print(&self) -> Value {
        Value::Object(self.0.clone())
    }

    fn describe(schema: &mut Schema) -> String {
        schema.object(TypeId::of::<Self>(), Self::shape)
    }
}

object! {
    /// Arguments of `device_del`.
    pub struct DeviceDel {
        /// Id or path of the device.
        id: String,
    }
}

enumeration! {
    /// The kinds of objects that can be made: none yet. QEMU's filters, secrets and memory backends are refused as
    /// values that the schema does not have.
    pub enum ObjectType {}
}

object! {
    /// Arguments of `object-add`.
    pub struct ObjectAdd {
        /// Its kind.
        qom_type as "qom-type": ObjectType,
        /// Its name.
        id: String,
    }
}

object! {
    /// Arguments of `object-del`.
    pub struct ObjectDel {
        /// Its name.
        id: String,
    }
}
