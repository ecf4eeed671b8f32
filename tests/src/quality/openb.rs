//! Reads the openb trace (Alibaba's cluster-trace-gpu-v2023): a list of nodes, a list of pods. It names
//! no users: pods are given to some by a seeded draw of Zipf's law.

use super::draw::{Draw, Zipf};
use super::workload::{Job, Machine, Workload};
use anyhow::{Context, Result, bail, ensure};
use std::path::Path;

const NODES: &str = "openb_node_list_all_node.csv";
const PODS: &str = "openb_pod_list_default.csv";

/// How the trace is used.
#[derive(Clone, Copy, Debug)]
pub struct Choice {
    /// Only every so many-th node.
    pub node_stride: usize,
    /// Users that pods are given to.
    pub users: usize,
    /// For the draw of users.
    pub seed: u64,
}

/// Reads both lists from `directory`.
///
/// # Errors
/// When a file is missing or a line is not what its header says.
pub fn read(directory: &Path, choice: Choice) -> Result<Workload> {
    ensure!(choice.node_stride > 0 && choice.users > 0, "a stride and users are above 0");
    let machines = table(directory, NODES, &["cpu_milli", "memory_mib", "gpu"])?;
    let machines = machines
        .into_iter()
        .step_by(choice.node_stride)
        .map(|row| Machine { has: [row.numbers[0], row.numbers[1], row.numbers[2] * 1_000] })
        .collect();
    let columns = [
        "cpu_milli",
        "memory_mib",
        "num_gpu",
        "gpu_milli",
        "creation_time",
        "deletion_time",
        "scheduled_time",
    ];
    let (mut draw, zipf) = (Draw::new(choice.seed, 0), Zipf::new(choice.users, 1.2));
    let mut jobs = Vec::new();
    for row in table(directory, PODS, &columns)? {
        let [cpu, mem, gpus, gpu_milli, created_s, deleted_s, scheduled_s] = row.numbers[..] else {
            bail!("{PODS}: a line with other columns");
        };
        // A pod that was never scheduled is taken to want as long as it was there.
        let began_s = if row.is_empty[6] { created_s } else { scheduled_s };
        ensure!(deleted_s >= began_s, "{PODS}: line {} ends before it begins", row.line);
        jobs.push(Job {
            user: zipf.draw(&mut draw),
            needs: [cpu, mem, gpus * gpu_milli],
            created_s,
            runs_s: (deleted_s - began_s).max(1),
            tier: tier(&row.text),
        });
    }
    jobs.sort_by_key(|job| job.created_s);
    Ok(Workload { machines, jobs, users: choice.users })
}

fn tier(qos: &str) -> &'static str {
    match qos {
        "LS" => "LS",
        "BE" => "BE",
        "Burstable" => "Burstable",
        _ => "Guaranteed",
    }
}

struct Row {
    line: usize,
    numbers: Vec<u64>,
    is_empty: Vec<bool>,
    /// The column `qos`, if there is one.
    text: String,
}

fn table(directory: &Path, name: &str, columns: &[&str]) -> Result<Vec<Row>> {
    let path = directory.join(name);
    let text = std::fs::read_to_string(&path)
        .with_context(|| format!("cannot read {}", path.display()))?;
    let mut lines = text.lines();
    let header: Vec<&str> =
        lines.next().with_context(|| format!("{name} is empty"))?.split(',').collect();
    let at = |column: &str| {
        let at = header.iter().position(|have| *have == column);
        at.with_context(|| format!("{name} has no column {column:?}"))
    };
    let places = columns.iter().map(|column| at(column)).collect::<Result<Vec<_>>>()?;
    let qos = header.iter().position(|have| *have == "qos");
    let mut rows = Vec::new();
    for (index, line) in lines.enumerate() {
        let line_number = index + 2;
        let fields: Vec<&str> = line.split(',').collect();
        ensure!(
            fields.len() == header.len(),
            "{name}: line {line_number} has {} fields",
            fields.len()
        );
        let number = |place: &usize| -> Result<u64> {
            let field = fields[*place];
            if field.is_empty() {
                return Ok(0);
            }
            field.parse().with_context(|| format!("{name}: line {line_number}: {field:?}"))
        };
        rows.push(Row {
            line: line_number,
            numbers: places.iter().map(number).collect::<Result<_>>()?,
            is_empty: places.iter().map(|place| fields[*place].is_empty()).collect(),
            text: qos.map(|place| fields[place].to_owned()).unwrap_or_default(),
        });
    }
    Ok(rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn directory(nodes: &str, pods: &str) -> tempfile::TempDir {
        let directory = tempfile::tempdir().expect("a directory");
        std::fs::write(directory.path().join(NODES), nodes).expect("written");
        std::fs::write(directory.path().join(PODS), pods).expect("written");
        directory
    }

    const NODE_HEADER: &str = "sn,cpu_milli,memory_mib,gpu,model\n";
    const POD_HEADER: &str = "name,cpu_milli,memory_mib,num_gpu,gpu_milli,gpu_spec,qos,pod_phase,\
                              creation_time,deletion_time,scheduled_time\n";
    const ALL: Choice = Choice { node_stride: 1, users: 3, seed: 1 };

    #[test]
    fn nodes_and_pods_are_read_and_a_pod_without_a_start_wants_what_it_waited() {
        let nodes = format!("{NODE_HEADER}a,32000,262144,0,\nb,96000,786432,8,G2\n");
        let pods = format!(
            "{POD_HEADER}p,12000,16384,2,1000,,LS,Running,50,100,60\nq,6000,12288,1,460,,BE,Failed,10,70,\n"
        );
        let workload = read(directory(&nodes, &pods).path(), ALL).expect("read");
        assert_eq!(workload.machines[1].has, [96_000, 786_432, 8_000]);
        let facts = |at: usize| {
            let job: &Job = &workload.jobs[at];
            (job.needs, job.created_s, job.runs_s, job.tier)
        };
        assert_eq!(facts(0), ([6_000, 12_288, 460], 10, 60, "BE"));
        assert_eq!(facts(1), ([12_000, 16_384, 2_000], 50, 40, "LS"));
    }

    #[test]
    fn what_is_wrong_is_named() {
        let nodes = format!("{NODE_HEADER}a,32000,262144,0,\n");
        for (pods, part) in [
            ("name,cpu_milli\n".to_owned(), "memory_mib"),
            (format!("{POD_HEADER}p,many,1,0,0,,LS,Running,1,2,1\n"), "line 2"),
            (format!("{POD_HEADER}p,1,1,0,0,,LS,Running,9,2,5\n"), "ends before"),
            (format!("{POD_HEADER}p,1,1\n"), "3 fields"),
        ] {
            let error = read(directory(&nodes, &pods).path(), ALL).expect_err("refused");
            assert!(format!("{error:#}").contains(part), "{error:#}");
        }
    }
}
