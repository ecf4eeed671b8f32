//! What the program prints: plain columns for people, JSON for programs. Tables have no borders,
//! upper-case heads, and are cut to the terminal's width, never when piped.

use crate::exit::Failure;
use std::io::{IsTerminal, Write};

/// Rows of text under upper-case heads.
pub(crate) struct Table {
    heads: Vec<&'static str>,
    rows: Vec<Vec<String>>,
}

impl Table {
    pub(crate) fn new(heads: &[&'static str]) -> Self {
        Self { heads: heads.to_vec(), rows: Vec::new() }
    }

    pub(crate) fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        self.rows.push(cells.into_iter().collect());
    }

    /// Columns as wide as their widest cell; lines at most `width` characters.
    pub(crate) fn render(&self, width: Option<usize>) -> String {
        let mut widths: Vec<usize> = self.heads.iter().map(|head| head.chars().count()).collect();
        for row in &self.rows {
            for (index, cell) in row.iter().enumerate().take(widths.len()) {
                widths[index] = widths[index].max(cell.chars().count());
            }
        }
        let heads: Vec<String> = self.heads.iter().map(|head| (*head).to_owned()).collect();
        let mut out = String::new();
        for row in std::iter::once(&heads).chain(&self.rows) {
            let mut line = String::new();
            for (index, cell) in row.iter().enumerate() {
                let last = index + 1 == row.len();
                line.push_str(cell);
                if !last {
                    let pad = widths.get(index).copied().unwrap_or(0)
                        - cell.chars().count().min(widths.get(index).copied().unwrap_or(0));
                    line.extend(std::iter::repeat_n(' ', pad + 3));
                }
            }
            out.push_str(&cut(line.trim_end(), width));
            out.push('\n');
        }
        out
    }

    pub(crate) fn print(&self) {
        print(&self.render(terminal_width()));
    }
}

fn cut(line: &str, width: Option<usize>) -> String {
    match width {
        Some(width) if line.chars().count() > width => {
            line.chars().take(width.saturating_sub(1)).chain(['…']).collect()
        }
        _ => line.to_owned(),
    }
}

/// The terminal's width, or `None` when the output is piped.
fn terminal_width() -> Option<usize> {
    if !std::io::stdout().is_terminal() {
        return None;
    }
    terminal_size::terminal_size().map(|(width, _)| usize::from(width.0))
}

/// Writes to standard output; a reader that has gone away ends the program quietly.
pub(crate) fn print(text: &str) {
    let mut out = std::io::stdout().lock();
    // A closed pipe is how `proffer ls | head` ends; there is nobody left to tell.
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}

pub(crate) fn line(text: &str) {
    print(&format!("{text}\n"));
}

/// A step of something that is followed: with its time where nobody watches (a log of CI).
pub(crate) fn step(text: &str) {
    if std::io::stdout().is_terminal() {
        line(text);
    } else {
        line(&format!("{}  {text}", time(now_ms())));
    }
}

/// UTC, to the second.
pub(crate) fn time(at_ms: u64) -> String {
    i64::try_from(at_ms)
        .ok()
        .and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok())
        .map_or_else(|| "-".to_owned(), |at| at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string())
}

/// A text of several lines under one head: the others stand back, so that each line that does not is a
/// head.
pub(crate) fn hanging(text: &str) -> String {
    text.trim_end().replace('\n', "\n    ")
}

/// Says to people what is going on, where it does not disturb what programs read.
pub(crate) fn note(text: &str) {
    let _ = writeln!(std::io::stderr().lock(), "{text}");
}

pub(crate) fn json(value: &impl serde::Serialize) {
    match serde_json::to_string_pretty(value) {
        Ok(text) => line(&text),
        Err(error) => note(&format!("error: cannot print as JSON: {error}")),
    }
}

pub(crate) fn json_line(value: &impl serde::Serialize) {
    if let Ok(text) = serde_json::to_string(value) {
        line(&text);
    }
}

/// `error:` what, `cause:` why, `try:` what to do.
pub(crate) fn failure(failure: &Failure, as_json: bool) {
    if as_json {
        note(&failure_json(failure).to_string());
        return;
    }
    failure.faults.iter().for_each(|fault| note(&fault.shown));
    note(&format!("error: {}", failure.message));
    if !failure.cause.is_empty() {
        note(&format!("cause: {}", failure.cause));
    }
    if !failure.hint.is_empty() {
        note(&format!("try: {}", failure.hint));
    }
}

/// `code`, `field`, `message`, `hint`; and the faults of a file.
fn failure_json(failure: &Failure) -> serde_json::Value {
    let mut value = match &failure.refusal {
        Some(refusal) => serde_json::json!({
            "code": refusal.code.as_str(), "field": refusal.field,
            "message": refusal.message, "hint": refusal.hint,
        }),
        None => {
            let cause = if failure.cause.is_empty() { "" } else { ": " };
            let message = format!("{}{cause}{}", failure.message, failure.cause);
            serde_json::json!({
                "code": failure.code.word(), "field": "", "message": message, "hint": failure.hint,
            })
        }
    };
    if !failure.faults.is_empty() {
        value["faults"] = serde_json::json!(failure.faults);
    }
    value
}

/// Asks for a yes on a terminal. Without one the answer is no, and the caller refuses.
pub(crate) fn confirm(question: &str) -> bool {
    if !std::io::stdin().is_terminal() {
        return false;
    }
    let mut err = std::io::stderr().lock();
    let _ = write!(err, "{question} [y/N] ").and_then(|()| err.flush());
    let mut answer = String::new();
    std::io::stdin().read_line(&mut answer).is_ok() && matches!(answer.trim(), "y" | "Y" | "yes")
}

/// How long ago, in the largest unit that keeps it short.
pub(crate) fn age(now_ms: u64, then_ms: u64) -> String {
    let seconds = now_ms.saturating_sub(then_ms) / 1000;
    match seconds {
        0..=119 => format!("{seconds}s"),
        120..=7199 => format!("{}m", seconds / 60),
        7200..=172_799 => format!("{}h", seconds / 3600),
        _ => format!("{}d", seconds / 86_400),
    }
}

/// The wall clock, for ages only.
pub(crate) fn now_ms() -> u64 {
    std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .map_or(0, |span| u64::try_from(span.as_millis()).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_is_one_object_with_the_same_four_keys() {
        use crate::exit::{ExitCode, Fault};
        let keys = |failure: &Failure| {
            let value = failure_json(failure);
            value.as_object().expect("an object").keys().cloned().collect::<Vec<_>>()
        };
        let own = Failure::new(ExitCode::Refused, "x: cannot be read").cause("gone");
        assert_eq!(keys(&own), ["code", "field", "hint", "message"]);
        assert_eq!(failure_json(&own)["code"], "refused");
        assert_eq!(failure_json(&own)["message"], "x: cannot be read: gone");
        let fault = Fault {
            file: "x.yaml".to_owned(),
            line: 3,
            column: 5,
            key: "services.a".to_owned(),
            message: "m".to_owned(),
            hint: String::new(),
            shown: String::new(),
        };
        let faulty = failure_json(&own.faults(vec![fault]));
        assert_eq!(faulty["faults"][0]["line"], 3);
        assert_eq!(faulty["faults"][0]["key"], "services.a");
    }

    #[test]
    fn columns_line_up_and_are_cut_to_the_width() {
        let mut table = Table::new(&["NAME", "READY"]);
        table.row(["web".to_owned(), "3/3".to_owned()]);
        table.row(["a-long-name".to_owned(), "10/10".to_owned()]);
        assert_eq!(
            table.render(None),
            "NAME          READY\nweb           3/3\na-long-name   10/10\n"
        );
        assert!(table.render(Some(8)).lines().all(|line| line.chars().count() <= 8));
    }
}
