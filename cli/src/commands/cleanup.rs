//! `proffer cleanup`: removes what a killed `dev` has left, and tokens of killed masters. Touches nothing
//! of those that run, nor what `dev --keep` has kept.

use super::ending::end_tasks;
use crate::args::{Cleanup, Output};
use crate::dev_place::{self, AgentPlace, Record};
use crate::exit::Failure;
use crate::output::{json, line, note};
use proffer_agent::Config as AgentConfig;
use proffer_types::AgentName;

pub(crate) async fn run(output: Output, args: &Cleanup) -> Result<(), Failure> {
    let (mut removed, mut kept) = (Vec::new(), Vec::new());
    let mut failed = None;
    for (path, record) in dev_place::records() {
        if record.is_alive() {
            continue;
        }
        if record.kept && !args.kept {
            kept.push(format!("dev in {}", record.data.display()));
            continue;
        }
        let what = format!("dev in {} (process {}, gone)", record.data.display(), record.pid);
        if !args.dry_run {
            if let Err(failure) = mend(&record, args.force).await {
                note(&format!("{what}: {failure}"));
                failed = Some(failure);
                continue;
            }
            let _ = std::fs::remove_file(&path);
        }
        removed.push(what);
    }
    for path in proffer_net::local::forgotten() {
        if args.dry_run || std::fs::remove_file(&path).is_ok() {
            removed.push(format!("{}, of a master that is gone", path.display()));
        }
    }
    match output {
        Output::Json => {
            json(&serde_json::json!({ "removed": removed, "kept": kept, "dry_run": args.dry_run }));
        }
        Output::Text if removed.is_empty() && failed.is_none() => line("nothing was left behind"),
        Output::Text => {
            let verb = if args.dry_run { "would remove" } else { "removed" };
            removed.iter().for_each(|what| line(&format!("{verb} {what}")));
        }
    }
    if output == Output::Text && !kept.is_empty() {
        kept.iter().for_each(|what| line(&format!("kept {what}, as it was told to")));
        line("`proffer cleanup --kept` ends their containers");
    }
    failed.map_or(Ok(()), Err)
}

/// Ends what each agent left, and removes the rest.
async fn mend(record: &Record, at_once: bool) -> Result<(), Failure> {
    for at in record.agents.iter().filter(|at| at.work_dir.exists()) {
        mend_agent(at, at_once).await?;
    }
    if let Some(above) = record.agents.first().and_then(|at| at.run_dir.parent()) {
        let _ = std::fs::remove_dir(above);
    }
    if record.temporary {
        // Gone already is as good.
        let _ = std::fs::remove_dir_all(&record.data);
    }
    Ok(())
}

/// Ends what an agent that is no more has left running.
pub(super) async fn mend_agent(at: &AgentPlace, at_once: bool) -> Result<(), Failure> {
    // Nobody listens on the discard port of loopback: the agent stays by itself.
    let mut config = AgentConfig::new(vec!["127.0.0.1:9".to_owned()], at.work_dir.clone());
    config.name = Some(AgentName::new(&at.name)?);
    config.run_dir = Some(at.run_dir.clone());
    config.cgroup_root = Some(at.cgroup_root.clone());
    config.enter_cgroup_leaf = false;
    let agent = proffer_agent::start(config)
        .await
        .map_err(|error| Failure::chain(&format!("{} cannot be mended", at.name), &error))?;
    end_tasks(std::slice::from_ref(&agent), at_once).await;
    agent.stop().await.map_err(|error| Failure::chain("an agent ended badly", &error))?;
    let _ = std::fs::remove_dir(&at.run_dir);
    Ok(())
}
