//! `yank`: tearing off connections whose peer hangs.

use crate::qmp::qapi::Nothing;
use crate::qmp::qapi::define::{object, union};

union! {
    /// Something whose connections can be torn off.
    pub enum YankInstance by "type" {
        /// A block device.
        BlockNode(YankBlockNode) = "block-node",
        /// A character device.
        Chardev(YankChardev) = "chardev",
        /// A migration.
        Migration(Nothing) = "migration",
    }
}

object! {
    /// A block device.
    pub struct YankBlockNode {
        /// Its name.
        node_name as "node-name": String,
    }
}

object! {
    /// A character device.
    pub struct YankChardev {
        /// Its name.
        id: String,
    }
}

object! {
    /// Arguments of `yank`.
    pub struct Yank {
        /// What to tear off.
        instances: Vec<YankInstance>,
    }
}
