//! `cargo xtask bench allocator`: runs each cell in processes of its own, up to five times, takes the
//! least disturbed run, and puts Mesos' constants, the bare loop of the same run and the goals beside it.

use crate::bench::goals::{AHEAD_MIN, GOALS, SLOPE_MAX, slopes};
use crate::bench::mesos::Anchors;
use crate::machine;
use crate::step::say;
use anyhow::{Context, Result, bail};
use serde_json::{Value, json};
use std::path::Path;
use std::process::{Command, Stdio};

/// The allocator alone.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// The whole grid, 1,000 to 50,000 agents by 1 to 6,000 frameworks: hours.
    #[arg(long)]
    full: bool,
    /// Only cells whose name holds this text, such as `DeclineOffers` or `:1000x`. May be repeated.
    #[arg(long, value_name = "TEXT")]
    only: Vec<String>,
    /// But none whose name holds this text. May be repeated.
    #[arg(long, value_name = "TEXT")]
    except: Vec<String>,
    /// Most runs of a cell, each in a process of its own.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    runs: u32,
    /// CPU time of all runs of one cell; loops of rounds end then, and no further run is begun.
    #[arg(long, default_value_t = 30, value_name = "SECONDS")]
    limit_s: u64,
    /// Print goals and what is wrong, not each figure.
    #[arg(long)]
    brief: bool,
}

/// One metric of one cell, over its runs.
#[derive(Clone, Debug)]
pub(crate) struct Figure {
    pub(crate) case: String,
    pub(crate) metric: String,
    pub(crate) unit: String,
    /// CPU times where the unit is one of time.
    pub(crate) samples: Vec<f64>,
    pub(crate) walls: Vec<f64>,
    /// What the bare loop took in the same runs.
    pub(crate) floors: Vec<f64>,
    /// Units of work in one run: offers, agents, tasks.
    pub(crate) work: Option<u64>,
    /// The cell decided something else than it must, so its times are of other work.
    pub(crate) is_wrong: bool,
}

impl Figure {
    /// Of times the least, as the least disturbed; of all else the middle.
    pub(crate) fn value(&self) -> f64 {
        let sorted = sorted(&self.samples);
        let at = if self.is_time() { 0 } else { sorted.len() / 2 };
        sorted.get(at).copied().unwrap_or(f64::NAN)
    }

    fn is_time(&self) -> bool {
        self.unit == "ms" || self.unit == "us"
    }

    fn wall(&self) -> Option<f64> {
        sorted(&self.walls).first().copied()
    }

    /// The middle of the ratios to the bare loop, each within one run.
    fn to_floor(&self) -> Option<f64> {
        let ratios: Vec<f64> = self.samples.iter().zip(&self.floors).map(|(a, b)| a / b).collect();
        sorted(&ratios).get(ratios.len() / 2).copied()
    }

    pub(crate) fn ns_per_unit(&self) -> Option<f64> {
        self.work.filter(|work| *work > 0).map(|work| self.value() * 1e6 / work as f64)
    }
}

fn sorted(samples: &[f64]) -> Vec<f64> {
    let mut sorted = samples.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted
}

/// What the runs of one cell have found.
#[derive(Default)]
struct Found {
    figures: Vec<Figure>,
    notes: Vec<String>,
    wrong: Vec<String>,
    runs: u32,
}

impl Found {
    fn take(&mut self, case: &str, line: &Value) {
        if let Some(note) = line["note"].as_str() {
            push_once(&mut self.notes, note);
            return;
        }
        if let Some(wrong) = line["wrong"].as_str() {
            push_once(&mut self.wrong, wrong);
            return;
        }
        let metric = line["metric"].as_str().unwrap_or_default();
        let at = self.figures.iter().position(|figure| figure.metric == metric);
        let at = at.unwrap_or_else(|| {
            self.figures.push(Figure {
                case: case.to_owned(),
                metric: metric.to_owned(),
                unit: line["unit"].as_str().unwrap_or_default().to_owned(),
                samples: Vec::new(),
                walls: Vec::new(),
                floors: Vec::new(),
                work: line["work"].as_u64(),
                is_wrong: false,
            });
            self.figures.len() - 1
        });
        let figure = &mut self.figures[at];
        figure.samples.extend(line["value"].as_f64());
        figure.walls.extend(line["wall"].as_f64());
        figure.floors.extend(line["floor"].as_f64());
    }
}

fn push_once(list: &mut Vec<String>, text: &str) {
    if !list.iter().any(|have| have == text) {
        list.push(text.to_owned());
    }
}

pub(crate) fn run(options: &Options, json: bool) -> Result<()> {
    let program = super::allocator_program()?;
    let anchors = Anchors::read()?;
    let list = list(&program, options)?;
    if list.is_empty() {
        bail!("no cell's name holds {:?}", options.only);
    }
    let described = machine::describe();
    say(&if json { described.to_string() } else { format!("{described}\n") });
    let (mut figures, mut wrong) = (Vec::new(), Vec::new());
    for case in &list {
        let mut found = measure(&program, case, options)?;
        wrong.extend(found.wrong.iter().map(|rule| format!("{case}: {rule}")));
        if json {
            print_json(&found, &anchors);
        } else if !options.brief {
            print_table(case, &found, &anchors);
        }
        let is_wrong = !found.wrong.is_empty();
        found.figures.iter_mut().for_each(|figure| figure.is_wrong = is_wrong);
        figures.extend(found.figures);
    }
    summary(&figures, &anchors, json);
    if !wrong.is_empty() {
        bail!("{} cells decided something else than they must:\n{}", wrong.len(), wrong.join("\n"));
    }
    Ok(())
}

fn list(program: &Path, options: &Options) -> Result<Vec<String>> {
    let mut command = Command::new(program);
    command.arg("--list");
    if options.full {
        command.arg("--full");
    }
    let output = command.output().with_context(|| format!("cannot start {command:?}"))?;
    let text = String::from_utf8(output.stdout).context("the list is no text")?;
    let holds =
        |texts: &[String], case: &str| texts.iter().any(|text| case.contains(text.as_str()));
    let wanted = |case: &&str| {
        (options.only.is_empty() || holds(&options.only, case)) && !holds(&options.except, case)
    };
    Ok(text.lines().filter(wanted).map(str::to_owned).collect())
}

fn measure(program: &Path, case: &str, options: &Options) -> Result<Found> {
    let mut found = Found::default();
    let mut used_s = 0.0;
    while found.runs < options.runs && used_s < options.limit_s as f64 {
        let began = std::time::Instant::now();
        let mut command = Command::new(program);
        command.args(["--cell", case, "--limit-s", &options.limit_s.to_string()]);
        let output = command.stderr(Stdio::inherit()).output();
        let output = output.with_context(|| format!("cannot start {command:?}"))?;
        let text = String::from_utf8(output.stdout).context("the cell printed no text")?;
        for line in text.lines() {
            let line = serde_json::from_str(line).with_context(|| format!("no JSON: {line}"))?;
            found.take(case, &line);
        }
        found.runs += 1;
        used_s += began.elapsed().as_secs_f64();
        if !output.status.success() {
            let ended = format!("ended early: {}", output.status);
            match output.status.code() {
                // By a signal: the kernel's, for its CPU time.
                None => found.notes.push(format!("{ended}; what it had found stands above")),
                Some(_) => found.wrong.push(ended),
            }
            break;
        }
    }
    Ok(found)
}

fn rounded(value: f64) -> f64 {
    (value * 10_000.0).round() / 10_000.0
}

fn print_json(found: &Found, anchors: &Anchors) {
    for figure in &found.figures {
        let anchor = anchors.get(&figure.case, &figure.metric);
        let samples: Vec<f64> = figure.samples.iter().copied().map(rounded).collect();
        let line = json!({
            "bench": "allocator", "case": figure.case, "metric": figure.metric,
            "unit": figure.unit, "value": rounded(figure.value()), "samples": samples,
            "wall": figure.wall().map(rounded), "work": figure.work,
            "to_floor": figure.to_floor().map(rounded),
            "mesos_constant": anchor.map(|anchor| anchor.value),
            "mesos_constant_from": anchor.map(|anchor| anchor.from),
        });
        say(&line.to_string());
    }
    for (kind, texts) in [("note", &found.notes), ("wrong", &found.wrong)] {
        let case = found.figures.first().map(|figure| figure.case.as_str());
        for text in texts {
            say(&json!({ "bench": "allocator", "case": case, kind: text }).to_string());
        }
    }
}

fn print_table(case: &str, found: &Found, anchors: &Anchors) {
    say(&format!("{case}  ({} runs)", found.runs));
    say(&format!(
        "  {:<24} {:>9} {:>13} {:>11} {:>10} {:>8} {:>12} {:>8}",
        "section", "work", "CPU, least", "wall", "per unit", "x loop", "Mesos*", "ahead"
    ));
    for figure in &found.figures {
        let optional = |value: Option<String>| value.unwrap_or_default();
        let anchor = anchors.get(&figure.case, &figure.metric);
        let is_compared = figure.is_time() || figure.unit == "bytes";
        let constant = match anchor {
            Some(anchor) => shown(anchor.value, &figure.unit),
            None if is_compared => "no anchor".to_owned(),
            None => String::new(),
        };
        say(&format!(
            "  {:<24} {:>9} {:>13} {:>11} {:>10} {:>8} {:>12} {:>8}",
            figure.metric,
            optional(figure.work.map(|work| work.to_string())),
            shown(figure.value(), &figure.unit),
            optional(figure.wall().map(|wall| shown(wall, "ms"))),
            optional(figure.ns_per_unit().map(|ns| format!("{ns:.0} ns"))),
            optional(figure.to_floor().map(|ratio| format!("{ratio:.1}"))),
            constant,
            optional(anchor.map(|anchor| format!("{:.0} x", anchor.value / figure.value()))),
        ));
    }
    found.notes.iter().for_each(|note| say(&format!("  note: {note}")));
    found.wrong.iter().for_each(|wrong| say(&format!("  WRONG: {wrong}")));
    say("");
}

fn shown(value: f64, unit: &str) -> String {
    match unit {
        "bytes" if value >= 1e6 => format!("{:.1} MB", value / 1e6),
        "bytes" => format!("{value:.0} B"),
        "count" => format!("{value:.0}"),
        "ratio" => format!("{value:.2} x"),
        "us" => format!("{value:.2} us"),
        _ if value >= 100.0 => format!("{value:.0} {unit}"),
        _ if value >= 1.0 => format!("{value:.2} {unit}"),
        _ => format!("{value:.4} {unit}"),
    }
}

fn summary(figures: &[Figure], anchors: &Anchors, json: bool) {
    let say_it = |row: Value, text: String| say(&if json { row.to_string() } else { text });
    if !json {
        say(
            "* constants of an earlier measurement of Apache Mesos, not measured here: mesos.tsv\n",
        );
        say("time per unit of work by agents, most to least (goal: 1.5 x)");
    }
    for slope in slopes(figures) {
        let points: Vec<String> =
            slope.points.iter().map(|(agents, ns)| format!("{agents}: {ns:.0} ns")).collect();
        let is_within = slope.ratio() <= SLOPE_MAX;
        let row = json!({ "bench": "allocator", "slope": slope.of, "ns_per_unit": slope.points,
            "value": rounded(slope.ratio()), "reached": is_within });
        let verdict = if is_within { "reached" } else { "NOT REACHED" };
        let text = format!(
            "  {:<58} {:>5.2} x  {verdict:<12} {}",
            slope.of,
            slope.ratio(),
            points.join(", ")
        );
        say_it(row, text);
    }
    let ratios: Vec<f64> = figures
        .iter()
        .filter(|figure| figure.unit == "ms" && figure.value() > 0.0 && !figure.is_wrong)
        .filter_map(|figure| {
            let anchor = anchors.get(&figure.case, &figure.metric)?;
            Some(anchor.value / figure.value())
        })
        .collect();
    let ahead = ratios.iter().filter(|ratio| **ratio >= AHEAD_MIN).count();
    if let Some(least) = sorted(&ratios).first() {
        let row = json!({ "bench": "allocator", "anchored": ratios.len(), "ahead_50_times": ahead,
            "least_ahead": rounded(*least) });
        let text = format!(
            "\n{ahead} of {} anchored sections take at least {AHEAD_MIN:.0} times less than the \
             constant; the least: {least:.1} times",
            ratios.len()
        );
        say_it(row, text);
    }
    if !json {
        say("\ngoals");
    }
    for goal in GOALS {
        let figure = figures.iter().find(|f| f.case == goal.case && f.metric == goal.metric);
        let (value, verdict) = match figure {
            None => (None, "not measured"),
            Some(figure) if figure.is_wrong => (Some(figure), "WRONG: other work was done"),
            Some(figure) if figure.value() <= goal.at_most => (Some(figure), "reached"),
            Some(figure) => (Some(figure), "NOT REACHED"),
        };
        let row = json!({ "bench": "allocator", "goal": goal.id, "case": goal.case,
            "metric": goal.metric, "at_most": goal.at_most,
            "value": value.map(|figure| rounded(figure.value())), "verdict": verdict });
        let unit = value.map_or("", |figure| figure.unit.as_str());
        let text = format!(
            "  {:<3} {:<32} {:<24} {:>13} of {:<12} {verdict}",
            goal.id,
            goal.case,
            goal.metric,
            value.map_or_else(|| "-".to_owned(), |figure| shown(figure.value(), unit)),
            shown(goal.at_most, unit),
        );
        say_it(row, text);
    }
}
