//! `none`: takes frames and discards them, as an unplugged cable does.

use super::{Kind, Surroundings};
use crate::qmp::answer::QmpError;

/// There is nothing to choose.
pub type Options = crate::qmp::qapi::Nothing;

impl Kind for Options {
    type Checked = ();

    fn check(&self, _around: &dyn Surroundings) -> Result<(), QmpError> {
        Ok(())
    }
}
