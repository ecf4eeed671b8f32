//! Builds the supervisor as a static program, so that the agent can carry it inside itself.
//!
//! A nested `cargo build` with its own target directory (the outer one is locked) and without the
//! outer compiler flags and wrappers, which belong to clippy or coverage and not to a program that
//! is only embedded. Works offline: all it needs are dependencies of the agent as well.

use std::env;
use std::path::PathBuf;
use std::process::Command;

/// What would leak from the outer build into the inner one.
const CLEARED: [&str; 10] = [
    "RUSTFLAGS",
    "CARGO_ENCODED_RUSTFLAGS",
    "RUSTDOCFLAGS",
    "RUSTC_WRAPPER",
    "RUSTC_WORKSPACE_WRAPPER",
    "CARGO_BUILD_RUSTC_WRAPPER",
    "CARGO_BUILD_RUSTC_WORKSPACE_WRAPPER",
    "CARGO_BUILD_TARGET",
    "CARGO_TARGET_DIR",
    "CLIPPY_ARGS",
];

/// No libraries to find at run time, and nothing to relocate at start: fewer private pages.
const RUSTFLAGS: &str = "-C target-feature=+crt-static -C relocation-model=static";

const PROFILE: [&str; 6] = [
    "profile.release.opt-level=\"z\"",
    "profile.release.panic=\"abort\"",
    "profile.release.lto=\"fat\"",
    "profile.release.codegen-units=1",
    "profile.release.strip=true",
    "profile.release.debug=false",
];

fn main() {
    let variable = |name: &str| env::var(name).unwrap_or_else(|_| panic!("cargo sets {name}"));
    let package = PathBuf::from(variable("CARGO_MANIFEST_DIR")).join("supervisor");
    let target = variable("TARGET");
    let target_dir = PathBuf::from(variable("OUT_DIR")).join("supervisor");

    for input in ["src", "Cargo.toml", "../../Cargo.lock"] {
        println!("cargo::rerun-if-changed={}", package.join(input).display());
    }

    let mut cargo = Command::new(variable("CARGO"));
    cargo.args(["build", "--release", "--bin", "proffer-supervisor", "--offline"]);
    cargo.arg("--manifest-path").arg(package.join("Cargo.toml"));
    cargo.arg("--target-dir").arg(&target_dir);
    // Named even where it is the host's, so that the flags do not reach build scripts and macros.
    cargo.args(["--target", &target]);
    for setting in PROFILE {
        cargo.args(["--config", setting]);
    }
    for name in CLEARED {
        cargo.env_remove(name);
    }
    for (name, _) in env::vars_os() {
        let name = name.to_string_lossy();
        if name.starts_with("CARGO_PROFILE_") || name.starts_with("CARGO_CFG_") {
            cargo.env_remove(&*name);
        }
    }
    cargo.env("RUSTFLAGS", RUSTFLAGS);
    let status = cargo.status().expect("cargo runs, it has started this program");
    assert!(status.success(), "failed to build the supervisor: {status}");

    let program = target_dir.join(&target).join("release/proffer-supervisor");
    println!("cargo::rustc-env=PROFFER_SUPERVISOR={}", program.display());
}
