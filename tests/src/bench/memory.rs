//! P14: what a master keeps in memory: its core, its view and the copy of the allocator that explains, in
//! processes of their own, so that what each adds is seen. Agents, frameworks and the store are the
//! fewest lines that answer.

mod driver;

use super::samples::Subject;
use anyhow::{Context, Result, bail, ensure};
use driver::Driver;
use serde_json::{Value, json};
use std::io::Write;
use std::process::{Command, Stdio};

const BENCH: &str = "memory";
const GIB: f64 = (1u64 << 30) as f64;
/// Goals of P14 at 50,000 agents and a million active tasks.
const TOTAL_GIB_MAX: f64 = 2.5;
const PEAK_GIB_MAX: f64 = 4.0;

/// How much.
#[derive(clap::Args, Clone, Copy)]
pub struct Plan {
    /// Agents.
    #[arg(long, default_value_t = 50_000)]
    pub agents: usize,
    /// Frameworks, each in a role of its own.
    #[arg(long, default_value_t = 100)]
    pub frameworks: usize,
    /// Tasks that end and are acknowledged first, and as many again that run.
    #[arg(long, default_value_t = 1_000_000)]
    pub tasks: usize,
    /// Only one part, and its figures as they are.
    #[arg(long, value_enum, hide = true)]
    part: Option<Part>,
}

/// What is kept beside the core.
#[derive(clap::ValueEnum, Clone, Copy, PartialEq, Eq, Debug)]
pub enum Part {
    /// Nothing.
    Core,
    /// A second allocator that is told the same.
    Explaining,
    /// The whole view, which has such an allocator.
    View,
}

/// Measures as planned.
///
/// # Errors
/// When the master does something else than it must.
pub fn run(plan: &Plan) -> Result<()> {
    let sizes = [plan.agents, plan.frameworks, plan.tasks];
    ensure!(sizes.iter().all(|size| *size > 0), "at least one agent, one framework and one task");
    match plan.part {
        Some(part) => measure(plan, part),
        None => all_parts(plan),
    }
}

fn all_parts(plan: &Plan) -> Result<()> {
    let case = format!("{}x{}/{}", plan.agents, plan.frameworks, plan.tasks);
    let subject = Subject { bench: BENCH, case: &case };
    let [core, explaining, view] =
        [of_part(plan, "core")?, of_part(plan, "explaining")?, of_part(plan, "view")?];
    let figure = |of: &Value, name: &str| of[name].as_f64().context("a figure of a part");
    for (stage, unit, per) in [("agents", "B/agent", plan.agents), ("active", "B/task", plan.tasks)]
    {
        let before = if stage == "agents" { "empty" } else { "agents" };
        let grown = |of: &Value| -> Result<f64> {
            Ok((figure(of, stage)? - figure(of, before)?).max(0.0) / per as f64)
        };
        let (core, explaining, view) = (grown(&core)?, grown(&explaining)?, grown(&view)?);
        subject.print(&format!("core_{unit}"), "bytes", core, &[])?;
        subject.print(&format!("explaining_{unit}"), "bytes", explaining - core, &[])?;
        subject.print(&format!("view_{unit}"), "bytes", view - explaining, &[])?;
        subject.print(&format!("all_{unit}"), "bytes", view, &[])?;
    }
    for stage in ["agents", "ended", "active", "in_flight", "peak"] {
        subject.print(&format!("resident_{stage}"), "GiB", figure(&view, stage)? / GIB, &[])?;
    }
    for (stage, most) in [("active", TOTAL_GIB_MAX), ("peak", PEAK_GIB_MAX)] {
        let value = figure(&view, stage)? / GIB;
        let verdict = if value <= most { "reached" } else { "NOT REACHED" };
        let goal = format!("{stage}: at most {most} GiB");
        let line = json!({ "bench": BENCH, "case": case, "goal": goal, "value": value, "verdict": verdict });
        writeln!(std::io::stdout(), "{line}")?;
    }
    Ok(())
}

/// In a process of its own: what was freed before would blur it.
fn of_part(plan: &Plan, part: &str) -> Result<Value> {
    let mut command = Command::new(std::env::current_exe()?);
    command.args([BENCH, "--part", part]);
    for (name, value) in
        [("--agents", plan.agents), ("--frameworks", plan.frameworks), ("--tasks", plan.tasks)]
    {
        command.args([name, &value.to_string()]);
    }
    let output = command.stderr(Stdio::inherit()).output()?;
    if !output.status.success() {
        bail!("{command:?}: {}", output.status);
    }
    serde_json::from_slice(&output.stdout).context("a part printed no JSON")
}

fn measure(plan: &Plan, part: Part) -> Result<()> {
    let mut figures = serde_json::Map::new();
    let mut note = |stage: &str, key: &str| -> Result<()> {
        figures.insert(stage.to_owned(), json!(status_bytes(key)?));
        Ok(())
    };
    let mut driver = Driver::new(part)?;
    note("empty", "VmRSS:")?;
    driver.register_agents(plan.agents, plan.tasks.div_ceil(plan.agents))?;
    driver.subscribe_frameworks(plan.frameworks)?;
    note("agents", "VmRSS:")?;
    let each = plan.tasks / plan.frameworks;
    driver.run_tasks(each)?;
    driver.end_tasks()?;
    note("ended", "VmRSS:")?;
    driver.run_tasks(each)?;
    driver.settle()?;
    note("active", "VmRSS:")?;
    driver.snapshots_in_flight()?;
    note("in_flight", "VmRSS:")?;
    note("peak", "VmHWM:")?;
    writeln!(std::io::stdout(), "{}", Value::Object(figures))?;
    Ok(())
}

/// A figure of `/proc/self/status`, in bytes.
fn status_bytes(key: &str) -> Result<u64> {
    let text = std::fs::read_to_string("/proc/self/status")?;
    let line = text.lines().find_map(|line| line.strip_prefix(key));
    let kib = line.and_then(|rest| rest.split_whitespace().next()?.parse::<u64>().ok());
    Ok(kib.context("a figure of the kernel's")? * 1024)
}
