//! P26: `proffer dev` from nothing to the first instruction of the first task, and a round trip of
//! the command line.

use super::samples::Subject;
use super::stamp::{self, ms_between, now_ns};
use crate::cluster::Dev;
use crate::processes::{PATIENCE, Place, Program, binary, until};
use anyhow::{Context, Result, ensure};
use std::path::Path;
use std::process::{Command, Stdio};

const BENCH: &str = "dev";

/// Measures `rounds` cold starts, and `trips` round trips of the last one.
///
/// # Errors
/// When something does not start; never because it is slow.
pub fn run(rounds: usize, trips: usize) -> Result<()> {
    let (mut ready, mut first, mut seen, mut ended) = (vec![], vec![], vec![], vec![]);
    let (mut list, mut floor) = (vec![], vec![]);
    for round in 0..rounds {
        let place = Place::new();
        let program = stamp::build(place.path())?;
        let file = place.file("one.yaml", &one_task(&program));
        let args = ["dev", "--listen", "127.0.0.1:0", "--deploy", &file.to_string_lossy()];
        let began = now_ns();
        let mut dev = Dev::watch(Program::start(&place, "dev", &args));
        ready.push(ms_between(began, now_ns()));
        let task = until("the task runs", PATIENCE, || running(&dev));
        seen.push(ms_between(began, now_ns()));
        let log = until("it has printed", PATIENCE, || {
            let log = dev.api.get(&format!("/v1/tasks/{task}/logs"));
            (!log.body.is_empty()).then_some(log.body)
        });
        first.push(ms_between(began, stamp::read(log.as_bytes())?));
        if round + 1 == rounds {
            for _ in 0..trips {
                list.push(timed(
                    Command::new(binary())
                        .arg("ls")
                        .env("PROFFER_ADDR", dev.api.address.to_string()),
                )?);
                floor.push(timed(&mut Command::new(&program))?);
            }
        }
        let interrupted = now_ns();
        dev.interrupt();
        ended.push(ms_between(interrupted, now_ns()));
    }
    let cold = Subject { bench: BENCH, case: "cold" };
    cold.print_p50_and_min("page_printed", "ms", &ready)?;
    cold.print_p50_and_min("first_instruction", "ms", &first)?;
    cold.print_p50_and_min("first_task_running", "ms", &seen)?;
    cold.print_p50_and_min("interrupt_to_end", "ms", &ended)?;
    Subject { bench: BENCH, case: "cli" }.print_p50_and_min("ls", "ms", &list)?;
    Subject { bench: BENCH, case: "cli" }.print_p50_and_min("spawn_floor", "ms", &floor)?;
    Ok(())
}

/// No checks and no ports: it runs when it runs.
fn one_task(program: &Path) -> String {
    format!(
        "schema: service/v1\nservices:\n  one:\n    command: [{}, stay]\n    resources:\n      request: {{cpu: 0.1, mem: 32Mi}}\n    stop: {{grace: 1s}}\n",
        program.display()
    )
}

fn running(dev: &Dev) -> Option<String> {
    let tasks = dev.api.json("/v1/tasks");
    let task = tasks["tasks"].as_array()?.first()?;
    (task["state"] == "running").then(|| task["id"].as_str().map(str::to_owned))?
}

fn timed(command: &mut Command) -> Result<f64> {
    command.stdin(Stdio::null()).stdout(Stdio::null());
    let began = now_ns();
    let status = command.status().with_context(|| format!("{command:?}"))?;
    let over = now_ns();
    ensure!(status.success(), "{command:?}: {status}");
    Ok(ms_between(began, over))
}
