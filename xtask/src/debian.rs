//! Debian packages that tests and benchmarks use. Present ones are left alone; missing ones are
//! installed when this is root on Debian, and named otherwise.

use crate::step::{Steps, say};
use anyhow::{Result, bail};
use std::path::Path;
use std::process::{Command, Stdio};

/// A program that tests start, and the package that has it.
pub(crate) struct Need {
    program: &'static str,
    package: &'static str,
}

/// What the gate needs.
pub(crate) const GATE: &[Need] = &[
    Need { program: "/usr/bin/etcd", package: "etcd-server" },
    Need { program: "/usr/bin/chromium", package: "chromium" },
    Need { program: "/usr/bin/chromedriver", package: "chromium-driver" },
    Need { program: "/usr/bin/perl", package: "perl-base" },
    Need { program: "/bin/busybox", package: "busybox-static" },
    Need { program: "/usr/bin/curl", package: "curl" },
    Need { program: "/usr/bin/openssl", package: "openssl" },
    Need { program: "/sbin/ip", package: "iproute2" },
];

/// What `--long` needs besides: the small guest with a pure cgroup v2.
pub(crate) const LONG: &[Need] = &[
    Need { program: "/usr/bin/qemu-system-x86_64", package: "qemu-system-x86" },
    Need { program: "/usr/share/seabios/bios-256k.bin", package: "seabios" },
    Need { program: "/usr/bin/cpio", package: "cpio" },
    Need { program: "/sbin/depmod", package: "kmod" },
    Need { program: "/usr/bin/zstd", package: "zstd" },
    Need { program: "/usr/bin/python3", package: "python3" },
];

/// What counts instructions.
pub(crate) const INSTRUCTIONS: &[Need] =
    &[Need { program: "/usr/bin/valgrind", package: "valgrind" }];

/// What benchmarks measure us against.
pub(crate) const BENCH: &[Need] = &[Need { program: "/usr/sbin/runc", package: "runc" }];

/// Installs what is missing.
pub(crate) fn install(steps: &mut Steps, needs: &[Need]) -> Result<()> {
    let missing: Vec<&str> = needs
        .iter()
        .filter(|need| !Path::new(need.program).exists())
        .map(|need| need.package)
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    if !is_root() || !Path::new("/usr/bin/apt-get").exists() {
        bail!(
            "the tests need: {}\n  to install: sudo apt-get install {}",
            missing.join(", "),
            missing.join(" ")
        );
    }
    say(&format!("installing {}", missing.join(", ")));
    update_lists(steps)?;
    let mut install = apt();
    install.args(["install", "-y", "-qq", "--no-install-recommends"]).args(&missing);
    steps.run("apt-get install", install.stdout(Stdio::null()))
}

/// Reads anew which packages there are.
pub(crate) fn update_lists(steps: &mut Steps) -> Result<()> {
    steps.run("apt-get update", apt().args(["update", "-qq"]))
}

fn apt() -> Command {
    let mut command = Command::new("apt-get");
    command.env("DEBIAN_FRONTEND", "noninteractive");
    command
}

/// Whether this process may install and make cgroups.
pub(crate) fn is_root() -> bool {
    std::fs::metadata("/proc/self")
        .is_ok_and(|meta| std::os::unix::fs::MetadataExt::uid(&meta) == 0)
}
