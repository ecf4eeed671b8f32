//! A browser without a window, driven over WebDriver by plain HTTP: what a person would see and do.

use crate::processes::{PATIENCE, Place, Program, until};
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;

const DRIVER: &str = "/usr/bin/chromedriver";

/// A headless Chromium of its own.
pub struct Browser {
    address: SocketAddr,
    session: String,
    pictures: PathBuf,
    // Last: the driver goes after its session.
    _driver: Program,
}

/// Whether a browser is installed. Says so where none is.
#[must_use]
pub fn is_installed(test: &str) -> bool {
    let found = Path::new(DRIVER).exists();
    if !found {
        eprintln!("skipped {test}: needs Debian's chromium and chromium-driver");
    }
    found
}

impl Browser {
    /// Starts one that keeps its profile in `place` and its pictures in `pictures`.
    ///
    /// # Panics
    /// When it does not start.
    #[must_use]
    pub fn start(place: &Place, pictures: &Path) -> Self {
        std::fs::create_dir_all(pictures).expect("the directory for pictures can be made");
        let mut command = Command::new(DRIVER);
        command.arg("--port=0").env("HOME", place.path());
        let driver = Program::run(place, "chromedriver", command);
        let port = until("the driver's port", PATIENCE, || {
            let text = driver.out();
            let (_, rest) = text.split_once("started successfully on port ")?;
            rest.split('.').next()?.parse::<u16>().ok()
        });
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let profile = format!("--user-data-dir={}", place.path().join("profile").display());
        let options = json!({"args": [
            "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
            "--no-first-run", "--disable-background-networking", profile,
        ]});
        let wanted = json!({"browserName": "chrome", "goog:chromeOptions": options,
            "goog:loggingPrefs": {"browser": "ALL"}});
        let body = json!({"capabilities": {"alwaysMatch": wanted}});
        let answer = call(address, "POST", "/session", &body);
        let session = answer["sessionId"].as_str().expect("a session has an id").to_owned();
        Self { address, session, pictures: pictures.to_owned(), _driver: driver }
    }

    fn ask(&self, method: &str, path: &str, body: &Value) -> Value {
        call(self.address, method, &format!("/session/{}/{path}", self.session), body)
    }

    /// Goes to an address and waits until it is loaded.
    pub fn open(&self, url: &str) {
        self.ask("POST", "url", &json!({ "url": url }));
    }

    /// What a script returns; its arguments are in `arguments`.
    #[must_use]
    pub fn script(&self, script: &str, arguments: &Value) -> Value {
        self.ask("POST", "execute/sync", &json!({"script": script, "args": arguments}))
    }

    /// What one reads of everything that `selector` finds.
    #[must_use]
    pub fn texts(&self, selector: &str) -> Vec<String> {
        const READ: &str =
            "return [...document.querySelectorAll(arguments[0])].map((it) => it.innerText.trim())";
        let found = self.script(READ, &json!([selector]));
        serde_json::from_value(found).expect("a list of texts")
    }

    /// What one reads of the first that `selector` finds; empty when there is none.
    #[must_use]
    pub fn text(&self, selector: &str) -> String {
        self.texts(selector).into_iter().next().unwrap_or_default()
    }

    /// Waits until `is_so` holds of the texts of `selector`, and gives them.
    ///
    /// # Panics
    /// When it does not in time; the message holds what was there instead.
    pub fn shows(
        &self,
        what: &str,
        selector: &str,
        is_so: impl Fn(&[String]) -> bool,
    ) -> Vec<String> {
        let mut last = Vec::new();
        let end = std::time::Instant::now() + PATIENCE;
        while std::time::Instant::now() < end {
            last = self.texts(selector);
            if is_so(&last) {
                return last;
            }
            crate::processes::pause(std::time::Duration::from_millis(50));
        }
        panic!("the page does not show {what}: {selector} has {last:#?}\n{:?}", self.console());
    }

    /// Clicks on the first that `selector` finds.
    pub fn click(&self, selector: &str) {
        let id = self.element(selector);
        self.ask("POST", &format!("element/{id}/click"), &json!({}));
    }

    /// Types into the first that `selector` finds, key by key.
    pub fn type_into(&self, selector: &str, text: &str) {
        let id = self.element(selector);
        self.ask("POST", &format!("element/{id}/value"), &json!({ "text": text }));
    }

    fn element(&self, selector: &str) -> String {
        let wanted = json!({"using": "css selector", "value": selector});
        let found = self.ask("POST", "element", &wanted);
        let id = found.as_object().and_then(|found| found.values().next()?.as_str());
        id.unwrap_or_else(|| panic!("{selector} finds nothing: {found}")).to_owned()
    }

    /// Presses keys, wherever the focus is.
    pub fn press(&self, keys: &str) {
        let steps: Vec<Value> = keys
            .chars()
            .flat_map(|key| {
                ["keyDown", "keyUp"].map(|kind| json!({"type": kind, "value": key.to_string()}))
            })
            .collect();
        let keyboard = json!({"type": "key", "id": "keyboard", "actions": steps});
        self.ask("POST", "actions", &json!({"actions": [keyboard]}));
    }

    /// The size of the window's inside, in pixels.
    pub fn resize(&self, width: u32, height: u32) {
        let metrics =
            json!({"width": width, "height": height, "deviceScaleFactor": 1, "mobile": false});
        self.tool("Emulation.setDeviceMetricsOverride", &metrics);
    }

    /// What the system says of light and dark.
    pub fn prefer(&self, scheme: &str) {
        let wanted = json!({"features": [{"name": "prefers-color-scheme", "value": scheme}]});
        self.tool("Emulation.setEmulatedMedia", &wanted);
    }

    fn tool(&self, command: &str, parameters: &Value) {
        self.ask("POST", "goog/cdp/execute", &json!({"cmd": command, "params": parameters}));
    }

    /// Keeps what the window shows as `NAME.png`.
    ///
    /// # Panics
    /// When the picture cannot be written.
    pub fn picture(&self, name: &str) {
        let answer = self.ask("GET", "screenshot", &Value::Null);
        let bytes = base64(answer.as_str().unwrap_or_default());
        assert!(bytes.starts_with(b"\x89PNG"), "no picture: {answer}");
        std::fs::write(self.pictures.join(format!("{name}.png")), bytes)
            .expect("it can be written");
    }

    /// What the console has got since it was last read: level and message. The browser's own first
    /// page has a console too; what it says is not asked for.
    #[must_use]
    pub fn console(&self) -> Vec<String> {
        let log = self.ask("POST", "se/log", &json!({"type": "browser"}));
        let line = |it: &Value| format!("{} {}", it["level"], it["message"]);
        let lines = log.as_array().into_iter().flatten().map(line);
        lines.filter(|line| !line.contains("chrome://")).collect()
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // The driver ends its browser; should it not, the place ends both.
        let _ = exchange(self.address, "DELETE", &format!("/session/{}", self.session), "");
    }
}

/// The `value` of an answer.
fn call(address: SocketAddr, method: &str, path: &str, body: &Value) -> Value {
    let text = if body.is_null() { String::new() } else { body.to_string() };
    let answer = exchange(address, method, path, &text)
        .unwrap_or_else(|error| panic!("{method} {path} of the browser: {error}"));
    let mut answer: Value = serde_json::from_slice(&answer).expect("a driver answers JSON");
    let value = answer["value"].take();
    assert!(value["error"].is_null(), "{method} {path} {text}: {value:#}");
    value
}

/// The body of an answer. Drivers keep connections open, so its length is what they say.
fn exchange(address: SocketAddr, method: &str, path: &str, body: &str) -> std::io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let length = body.len();
    write!(
        stream,
        "{method} {path} HTTP/1.1\r\nHost: {address}\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}"
    )?;
    let mut reader = BufReader::new(stream);
    let mut length = 0;
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 || line.trim().is_empty() {
            break;
        }
        if let Some((name, value)) = line.split_once(':')
            && name.eq_ignore_ascii_case("content-length")
        {
            length = value.trim().parse().map_err(std::io::Error::other)?;
        }
    }
    let mut bytes = vec![0; length];
    reader.read_exact(&mut bytes)?;
    Ok(bytes)
}

fn base64(text: &str) -> Vec<u8> {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let value = |letter| LETTERS.iter().position(|known| *known == letter);
    let letters: Vec<usize> = text.bytes().map_while(value).collect();
    let mut bytes = Vec::with_capacity(letters.len() * 3 / 4);
    for group in letters.chunks(4) {
        let bits =
            group.iter().fold(0, |bits, letter| bits << 6 | letter) << (6 * (4 - group.len()));
        let [.., a, b, c] = bits.to_be_bytes();
        bytes.extend_from_slice(&[a, b, c][..group.len() - 1]);
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_of_the_specification() {
        assert_eq!(base64("Zm9vYmFy"), b"foobar");
        assert_eq!(base64("Zm9vYg=="), b"foob");
        assert_eq!(base64("Zm9vYmE="), b"fooba");
    }
}
