//! The thread name of a worker: which queues it carries, in the 15 bytes that `ps -L` shows.

use framewire_shared::limits::LABEL_BYTES;

use super::PlannedEnd;

/// `fw1` when idle, `fw1:n0.2` for the third queue of n0, `fw1:n0.2+3` when three more come along. A long name
/// keeps its end, where names that were made by programs differ.
pub(super) fn label(worker: usize, first: Option<PlannedEnd<'_>>, ends: usize) -> [u8; LABEL_BYTES] {
    let mut text = format!("fw{worker}");
    if let Some(first) = first {
        let more = if ends > 1 { format!("+{}", ends - 1) } else { String::new() };
        let tail = format!(".{}{more}", first.index);
        // Names of back ends are ASCII: QEMU's rule for ids.
        let id = first.port.id.as_bytes();
        let room = (LABEL_BYTES - 1).saturating_sub(text.len() + 1 + tail.len());
        let id = &id[id.len().saturating_sub(room)..];
        text = format!("{text}:{}{tail}", String::from_utf8_lossy(id));
    }
    let mut label = [0; LABEL_BYTES];
    let text = &text.as_bytes()[..text.len().min(LABEL_BYTES - 1)];
    label[..text.len()].copy_from_slice(text);
    label
}
