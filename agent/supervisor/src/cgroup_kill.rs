//! Owns how everything in one control group is killed, with whatever the kernel offers.

use std::path::Path;
use std::{fs, io};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// Rounds of freeze, signal, thaw: a frozen group cannot fork, so the second finds nothing new
/// unless a freeze came too late.
const ROUNDS_MAX: usize = 5;

/// Kills every process in the group: by `cgroup.kill` of the v2 directory where there is one, else
/// by freezing, signalling and thawing the v1 freezer group. Returns before they are gone.
///
/// # Errors
/// When neither way exists or works. A group that is not there has nothing to kill.
pub fn kill_all(v2_dir: Option<&Path>, v1_freezer_dir: Option<&Path>) -> io::Result<()> {
    if let Some(dir) = v2_dir {
        match fs::write(dir.join("cgroup.kill"), "1") {
            Ok(()) => return Ok(()),
            Err(e) if e.kind() != io::ErrorKind::NotFound && v1_freezer_dir.is_none() => {
                return Err(e);
            }
            Err(_) if !dir.exists() && v1_freezer_dir.is_none() => return Ok(()),
            Err(_) => {}
        }
    }
    match v1_freezer_dir {
        Some(dir) if dir.exists() => kill_frozen(dir),
        Some(_) => Ok(()),
        None => match v2_dir {
            Some(dir) => signal_all(&dir.join("cgroup.procs")).map(|_| ()),
            None => {
                Err(io::Error::new(io::ErrorKind::Unsupported, "no way to kill a control group"))
            }
        },
    }
}

fn kill_frozen(dir: &Path) -> io::Result<()> {
    for _ in 0..ROUNDS_MAX {
        fs::write(dir.join("freezer.state"), "FROZEN")?;
        let signalled = signal_all(&dir.join("cgroup.procs"));
        // A frozen process dies only when it is thawed.
        fs::write(dir.join("freezer.state"), "THAWED")?;
        if signalled? == 0 {
            break;
        }
    }
    Ok(())
}

fn signal_all(procs_file: &Path) -> io::Result<usize> {
    let mut count = 0;
    for line in fs::read_to_string(procs_file)?.lines() {
        if let Ok(pid) = line.parse::<i32>()
            && pid > 0
        {
            count += 1;
            // Gone already is what is wanted.
            let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
        }
    }
    Ok(count)
}
