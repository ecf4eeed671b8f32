//! How many parts a message has, counted in its bytes before anything is allocated.
//!
//! Two bytes on the wire (an empty part of a list) can become several hundred in memory: a frame
//! within its limit of bytes could still ask for a gigabyte. So the parts are counted first, with
//! the schema at hand, and a frame with too many is refused.

use crate::descriptor::{FieldKind, Message, is_repeated, schema};
use std::collections::HashMap;
use std::sync::LazyLock;

/// Most parts (messages, map entries and words of lists) of one message. A page of 4096 tasks has
/// some 100,000; the largest part takes 536 bytes in memory.
pub const PARTS_MAX: usize = 200_000;

/// Deepest nesting that is counted; decoders refuse what lies deeper.
const DEPTH_MAX: usize = 100;

/// What must be known of a message to count its parts.
#[derive(Debug, Default)]
struct Shape {
    /// Number of each field that holds parts, ascending, and what they are.
    parts: Vec<(u32, Part)>,
}

#[derive(Clone, Copy, Debug)]
enum Part {
    /// A message: its index in the table.
    Message(usize),
    /// A word of a list.
    Leaf,
}

struct Table {
    shapes: Vec<Shape>,
    by_name: HashMap<&'static str, usize>,
}

static TABLE: LazyLock<Table> = LazyLock::new(|| {
    let messages = &schema().messages;
    let by_name: HashMap<&'static str, usize> =
        messages.keys().enumerate().map(|(index, name)| (name.as_str(), index)).collect();
    let shapes = messages.values().map(|message| shape(message, &by_name)).collect();
    Table { shapes, by_name }
});

fn shape(message: &Message, by_name: &HashMap<&'static str, usize>) -> Shape {
    let part = |field: &prost_types::FieldDescriptorProto| {
        let number = u32::try_from(field.number()).ok()?;
        let part = match FieldKind::of(field) {
            FieldKind::Message(name) => Part::Message(*by_name.get(name.as_str())?),
            FieldKind::Scalar("string" | "bytes") if is_repeated(field) => Part::Leaf,
            FieldKind::Scalar(_) | FieldKind::Enum(_) => return None,
        };
        Some((number, part))
    };
    let mut parts: Vec<_> = message.descriptor.field.iter().filter_map(part).collect();
    parts.sort_unstable_by_key(|(number, _)| *number);
    Shape { parts }
}

/// Whether `bytes`, read as the message of that name (without the package), has at most `max`
/// parts. Bytes that do not decode may pass: the decoder refuses them.
#[must_use]
pub fn is_within(message: &str, bytes: &[u8], max: usize) -> bool {
    // A part takes at least its tag and its length: short messages need no counting.
    if bytes.len() / 2 <= max {
        return true;
    }
    let Some(index) = TABLE.by_name.get(message) else { return true };
    let mut left = max;
    count(*index, bytes, DEPTH_MAX, &mut left).is_some()
}

/// Takes the parts off `left`; `None` when there are more.
fn count(shape: usize, mut bytes: &[u8], depth: usize, left: &mut usize) -> Option<()> {
    const VARINT: u64 = 0;
    const EIGHT_BYTES: u64 = 1;
    const LENGTH: u64 = 2;
    const FOUR_BYTES: u64 = 5;
    let parts = &TABLE.shapes[shape].parts;
    while let Some(tag) = varint(&mut bytes) {
        let body = match tag & 7 {
            VARINT => varint(&mut bytes).map(|_| bytes.split_at(0).0),
            EIGHT_BYTES => take(&mut bytes, 8),
            LENGTH => varint(&mut bytes).and_then(|length| take(&mut bytes, length)),
            FOUR_BYTES => take(&mut bytes, 4),
            // Groups: an unknown field, which decoders skip; what is in it is counted as if it
            // stood outside.
            _ => Some(bytes.split_at(0).0),
        };
        let Some(body) = body else { return Some(()) };
        if tag & 7 != LENGTH {
            continue;
        }
        let part = parts.iter().find(|(number, _)| u64::from(*number) == tag >> 3);
        let Some((_, part)) = part else { continue };
        *left = left.checked_sub(1)?;
        match part {
            Part::Message(inner) if depth > 0 => count(*inner, body, depth - 1, left)?,
            Part::Message(_) | Part::Leaf => {}
        }
    }
    Some(())
}

/// A varint, or `None` at the end or where there is none.
fn varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0u64;
    for shift in (0..64).step_by(7) {
        let (byte, rest) = bytes.split_first()?;
        *bytes = rest;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

fn take<'a>(bytes: &mut &'a [u8], length: u64) -> Option<&'a [u8]> {
    let (taken, rest) = bytes.split_at_checked(usize::try_from(length).ok()?)?;
    *bytes = rest;
    Some(taken)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pb;
    use prost::Message as _;

    fn parts(name: &str, message: &impl prost::Message) -> usize {
        let mut left = usize::MAX;
        count(TABLE.by_name[name], &message.encode_to_vec(), DEPTH_MAX, &mut left).expect("fits");
        usize::MAX - left
    }

    #[test]
    fn parts_are_counted_however_deep_they_stand() {
        let resource = |name: &str| pb::Resource {
            name: name.to_owned(),
            quantity: Some(pb::resource::Quantity::Set(pb::StringSet {
                items: vec!["a".to_owned(), "b".to_owned()],
            })),
            ..pb::Resource::default()
        };
        let group = pb::DemandGroup {
            shape: vec![resource("x"), resource("y")],
            ..pb::DemandGroup::default()
        };
        let demand = pb::call::Demand { groups: vec![group] };
        let frame = pb::SchedulerUp {
            epoch: u64::MAX,
            calls: vec![pb::Call { kind: Some(pb::call::Kind::Demand(demand)) }],
        };
        // Call, demand, group, and for each of two resources: itself, its set, two words.
        assert_eq!(parts("SchedulerUp", &frame), 11);
        let labels = pb::FrameworkInfo {
            labels: [("a".to_owned(), "b".to_owned())].into(),
            roles: vec!["eng".to_owned(); 3],
            ..pb::FrameworkInfo::default()
        };
        assert_eq!(parts("FrameworkInfo", &labels), 4);
    }

    #[test]
    fn a_small_frame_cannot_ask_for_much_memory() {
        // Tasks of an agent's registration, two bytes each: a megabyte would become 200.
        let tasks = [0x0a, 0x00].repeat(500_000);
        let message = pb::AgentUp {
            messages: vec![pb::AgentMessage {
                kind: Some(pb::agent_message::Kind::Tasks(pb::agent_message::Tasks::default())),
            }],
            ..pb::AgentUp::default()
        };
        assert!(is_within("AgentUp", &message.encode_to_vec(), PARTS_MAX));
        assert!(!is_within("AgentMessage.Tasks", &tasks, PARTS_MAX));
    }

    #[test]
    fn damaged_bytes_end_the_count() {
        for bytes in
            [&b"\xff"[..], b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", b"\x0a\x7f", b"\x09"]
        {
            assert!(is_within("SchedulerUp", bytes, 0));
        }
        assert!(is_within("NoSuchMessage", b"\x0a\x00", 0));
    }
}
