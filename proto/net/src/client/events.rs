//! Owns the reading of server-sent events out of bytes. Pure.

/// An event longer than this is not one of ours.
const EVENT_BYTES_MAX: usize = 16 << 20;

/// One event.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Event {
    /// The cursor to resume after, if there is one.
    pub id: Option<String>,
    /// What kind; empty if it does not say.
    pub name: String,
    /// The lines of its data, joined.
    pub data: String,
}

/// The stream cannot be read on.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EventError {
    /// Too long.
    #[error("an event is over the limit of {EVENT_BYTES_MAX} bytes")]
    TooLarge,
}

/// Takes bytes as they come and yields events as they are complete.
#[derive(Debug, Default)]
pub struct EventReader {
    line: Vec<u8>,
    event: Event,
    has_data: bool,
}

impl EventReader {
    /// The events that these bytes complete. Comments, which keep a connection alive, are skipped.
    pub fn read(&mut self, bytes: &[u8]) -> Vec<Result<Event, EventError>> {
        let mut events = Vec::new();
        for byte in bytes {
            match byte {
                b'\n' => events.extend(self.end_line().map(Ok)),
                _ if self.line.len() + self.event.data.len() >= EVENT_BYTES_MAX => {
                    events.push(Err(EventError::TooLarge));
                    return events;
                }
                byte => self.line.push(*byte),
            }
        }
        events
    }

    fn end_line(&mut self) -> Option<Event> {
        let line = std::mem::take(&mut self.line);
        let text = String::from_utf8_lossy(&line);
        let text = text.strip_suffix('\r').unwrap_or(&text);
        if text.is_empty() {
            let event = std::mem::take(&mut self.event);
            return std::mem::take(&mut self.has_data).then_some(event);
        }
        let (field, value) = text.split_once(':').unwrap_or((text, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "id" => self.event.id = Some(value.to_owned()),
            "event" => value.clone_into(&mut self.event.name),
            "data" => {
                if self.has_data {
                    self.event.data.push('\n');
                }
                self.event.data.push_str(value);
                self.has_data = true;
            }
            _ => {}
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_read_however_the_bytes_are_cut() {
        let text =
            ": ping\n\nid: 1.2.3\nevent: task\ndata: {\"a\":\r\ndata: 1}\r\n\ndata:x\n\nid: 9\n\n";
        let expected = [
            Event { id: Some("1.2.3".into()), name: "task".into(), data: "{\"a\":\n1}".into() },
            Event { data: "x".into(), ..Event::default() },
        ];
        for size in 1..text.len() {
            let mut reader = EventReader::default();
            let chunks = text.as_bytes().chunks(size);
            let read: Result<Vec<_>, _> = chunks.flat_map(|chunk| reader.read(chunk)).collect();
            assert_eq!(read.unwrap(), expected, "cut every {size} bytes");
        }
    }
}
