//! Ends the tasks of agents of this process, and says meanwhile what it waits for.

use crate::output::note;
use proffer_agent::RunningAgent;
use std::time::Duration;

/// Short graces pass without a word.
const SAY_AFTER: Duration = Duration::from_secs(2);
const SAY_EVERY: Duration = Duration::from_secs(10);
/// Tasks that are named.
const NAMED_MAX: usize = 5;

/// Ends the tasks of all `agents`, side by side; without their graces if `at_once`.
pub(crate) async fn end_tasks(agents: &[RunningAgent], at_once: bool) {
    let all = futures_util::future::join_all(agents.iter().map(|it| it.end_tasks(at_once)));
    tokio::pin!(all);
    let mut span = SAY_AFTER;
    loop {
        tokio::select! {
            _ = &mut all => return,
            () = tokio::time::sleep(span) => say(agents).await,
        }
        span = SAY_EVERY;
    }
}

async fn say(agents: &[RunningAgent]) {
    let mut names = Vec::new();
    for agent in agents {
        let tasks = agent.snapshot().await.map(|it| it.tasks).unwrap_or_default();
        let live = tasks.into_values().filter(|status| !status.state.is_terminal());
        names.extend(live.map(|status| status.task.to_string()));
    }
    let more = names.len().saturating_sub(NAMED_MAX);
    let count = names.len();
    names.truncate(NAMED_MAX);
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    let tasks = if count == 1 { "1 task has" } else { &format!("{count} tasks have") };
    note(&format!("{tasks} not ended yet and may take their grace: {}{more}", names.join(", ")));
}
