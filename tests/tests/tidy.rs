//! The structure of the tree, as a test: cores are pure, one `main`, one TLS provider, first lines say
//! what a file owns, no leftovers.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

/// The packages that decide; they may depend on `proto/types` and each other.
const CORES: [&str; 6] = [
    "proffer-types",
    "proffer-allocator",
    "proffer-master-core",
    "proffer-agent-core",
    "proffer-sdk-core",
    "proffer-service-core",
];

/// What must not be in the tree of a core: I/O, clocks and threads by other names.
const BARRED: [&str; 12] = [
    "tokio",
    "tonic",
    "axum",
    "hyper",
    "nix",
    "mio",
    "socket2",
    "redb",
    "prost",
    "rand",
    "etcd-client",
    "proffer-proto",
];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("tests lies in the workspace")
}

fn cargo(args: &[&str]) -> String {
    let output = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
        .current_dir(root())
        .args(args)
        .output()
        .expect("cargo starts");
    assert!(output.status.success(), "cargo {args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("cargo prints text")
}

#[test]
fn cores_have_no_io_in_their_dependencies() {
    for core in CORES {
        let tree = cargo(&["tree", "--locked", "-e", "normal", "--prefix", "none", "-p", core]);
        let names: Vec<&str> =
            tree.lines().filter_map(|line| line.split_whitespace().next()).collect();
        assert!(names.contains(&core), "{core} has a tree");
        for barred in BARRED {
            assert!(
                !names.contains(&barred),
                "{core} depends on {barred}: a core decides, it does not act"
            );
        }
    }
}

#[test]
fn there_is_one_tls_provider() {
    let tree = cargo(&["tree", "--locked", "--workspace", "--prefix", "none"]);
    assert!(
        !tree.lines().any(|line| line.starts_with("aws-lc-rs ")),
        "two providers panic at run time"
    );
}

#[test]
fn the_descriptor_set_is_of_the_pinned_etcd_client() {
    let made_for = std::fs::read_to_string(root().join("xtask/protoc/etcd.fds.version"))
        .expect("is kept beside it");
    let manifest =
        std::fs::read_to_string(root().join("Cargo.toml")).expect("the workspace has one");
    let wanted = format!("etcd-client = {{ version = \"{}\"", made_for.trim());
    assert!(
        manifest.contains(&wanted),
        "make xtask/protoc/etcd.fds anew for the etcd-client in Cargo.toml"
    );
}

#[test]
fn only_the_program_and_the_supervisor_have_a_main() {
    let metadata: serde_json::Value = serde_json::from_str(&cargo(&[
        "metadata",
        "--locked",
        "--no-deps",
        "--format-version",
        "1",
    ]))
    .expect("JSON");
    let mut programs: Vec<String> = Vec::new();
    for package in metadata["packages"].as_array().expect("packages") {
        let name = package["name"].as_str().expect("a name");
        // The project's own tools are no part of what is shipped.
        if name == "xtask" || name == "proffer-tests" {
            continue;
        }
        for target in package["targets"].as_array().expect("targets") {
            if target["kind"].as_array().expect("kinds").iter().any(|kind| kind == "bin") {
                programs.push(target["name"].as_str().expect("a name").to_owned());
            }
        }
    }
    programs.sort();
    assert_eq!(programs, ["proffer", "proffer-supervisor"]);
}

fn sources() -> Vec<PathBuf> {
    let listed = Command::new("git").arg("-C").arg(root()).args(["ls-files", "*.rs"]).output();
    let listed = listed.expect("git starts");
    let files: Vec<PathBuf> =
        String::from_utf8_lossy(&listed.stdout).lines().map(|line| root().join(line)).collect();
    assert!(files.len() > 100, "found {} sources", files.len());
    files.into_iter().filter(|path| path.exists()).collect()
}

#[test]
fn every_file_says_first_what_it_owns() {
    let silent: Vec<_> = sources()
        .into_iter()
        .filter(|path| {
            !std::fs::read_to_string(path).expect("text").trim_start().starts_with("//!")
        })
        .collect();
    assert!(silent.is_empty(), "no first line `//!` in {silent:#?}");
}

#[test]
fn nothing_is_left_for_later_without_a_word() {
    let leftovers = [
        ["to", "do!("].concat(),
        ["unimpl", "emented!("].concat(),
        ["FIX", "ME"].concat(),
        ["XX", "X"].concat(),
        ["db", "g!("].concat(),
    ];
    for path in sources() {
        let text = std::fs::read_to_string(&path).expect("text");
        for leftover in &leftovers {
            assert!(!text.contains(leftover.as_str()), "{}: {leftover}", path.display());
        }
    }
}

/// Ids of promises in a text: a letter and a number, as words of their own; `F41–F44` is four.
fn ids(text: &str) -> BTreeSet<String> {
    let is_part = |c: char| c.is_alphanumeric() || c == '_';
    let words: Vec<&str> = text.split(|c| !is_part(c)).collect();
    let is_id = |word: &&str| {
        let digits = word.get(1..).unwrap_or("").trim_end_matches('b');
        word.starts_with(['K', 'I', 'P', 'R', 'F', 'T'])
            && (1..=2).contains(&digits.len())
            && digits.bytes().all(|byte| byte.is_ascii_digit())
    };
    words.iter().filter(|word| is_id(word)).map(|word| (*word).to_owned()).collect()
}

/// Rows of `docs/promises.md`: id, and what shows it.
fn promises() -> BTreeMap<String, String> {
    let page = std::fs::read_to_string(root().join("docs/promises.md")).expect("is there");
    let row = |line: &str| {
        let mut cells = line.strip_prefix("| ")?.strip_suffix(" |")?.split(" | ");
        let id = cells.next().filter(|cell| ids(cell).contains(*cell))?;
        Some((id.to_owned(), cells.last()?.to_owned()))
    };
    page.lines().filter_map(row).collect()
}

#[test]
fn every_promise_that_is_cited_is_written_down_and_shown() {
    let promises = promises();
    assert!(promises.len() > 70, "{} rows", promises.len());
    for path in sources() {
        let text = std::fs::read_to_string(&path).expect("text");
        let comments: String = text
            .lines()
            .filter_map(|line| line.split_once("//").map(|(_, comment)| comment))
            .flat_map(|comment| [comment, "\n"])
            .collect();
        let unknown: Vec<_> =
            ids(&comments).into_iter().filter(|id| !promises.contains_key(id)).collect();
        assert!(unknown.is_empty(), "{} cites {unknown:?}", path.display());
    }
    for (id, shown) in &promises {
        let named: Vec<&str> = shown.split('`').skip(1).step_by(2).collect();
        let is_said = !named.is_empty() || ["sim", "later"].contains(&shown.as_str());
        assert!(is_said, "{id}: nothing shows it: {shown}");
        for file in named {
            assert!(root().join(file).is_file(), "{id} is shown by {file}, which is not there");
        }
    }
}
