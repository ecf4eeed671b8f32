//! Budgets (K11): how many tasks of a kind are to stay available, whoever else wants their room. A framework
//! says all of them at once; what it has not said since this master leads stands with its launches.

use crate::master::Master;
use crate::state::tasks::TaskEntry;
use proffer_types::demand::Budget;
use proffer_types::{
    FrameworkId, GroupName, LaunchToken, Refusal, RefusalCode, TaskKey, TaskState,
};
use std::collections::BTreeMap;

/// A budget of some framework.
pub(crate) type BudgetKey = (FrameworkId, GroupName);

impl Master {
    pub(crate) fn budgets(&mut self, framework: FrameworkId, budgets: Vec<Budget>) {
        match check_budgets(budgets) {
            Err(refusal) => self.refuse_call(framework, "budgets", refusal),
            Ok(budgets) => {
                if let Some(entry) = self.frameworks.get_mut(framework) {
                    entry.budgets = budgets;
                }
            }
        }
    }

    /// The budget a task counts in.
    pub(crate) fn budget_of(key: &TaskKey, task: &TaskEntry) -> Option<BudgetKey> {
        let budget = task.record.budget.as_ref()?;
        Some((key.framework, budget.name.clone()))
    }

    /// How many tasks of each budget of a framework may be ended for others; all at once, since its tasks
    /// are looked through for it.
    pub(crate) fn spares_of(&self, framework: FrameworkId) -> BTreeMap<GroupName, usize> {
        let mut seen: BTreeMap<&GroupName, Seen> = BTreeMap::new();
        for (key, task) in self.tasks.of(framework) {
            let (Some(budget), status) = (&task.record.budget, &task.record.status) else {
                continue;
            };
            let entry = seen.entry(&budget.name).or_default();
            if entry.newest.is_none_or(|(token, _)| token < status.token) {
                entry.newest = Some((status.token, budget.min_available));
            }
            let is_available = status.state == TaskState::Running
                && status.ready != Some(false)
                && task.kill.is_none()
                && !self.claims.names(key, task);
            entry.available += usize::from(is_available);
        }
        let stated = self.frameworks.get(framework).map(|entry| &entry.budgets);
        let spare = |(name, seen): (&GroupName, Seen)| {
            let stated = stated.and_then(|stated| stated.get(name).copied());
            let kept = stated.or(seen.newest.map(|(_, kept)| kept)).unwrap_or(0);
            let spare = match kept {
                0 => usize::MAX,
                kept => seen.available.saturating_sub(kept as usize),
            };
            (name.clone(), spare)
        };
        seen.into_iter().map(spare).collect()
    }
}

/// What is known of the tasks of a budget.
#[derive(Default)]
struct Seen {
    /// The newest launch, and how many it says are to stay.
    newest: Option<(LaunchToken, u32)>,
    available: usize,
}

fn check_budgets(budgets: Vec<Budget>) -> Result<BTreeMap<GroupName, u32>, Refusal> {
    let refuse = |code, field: String, message| Err(Refusal::new(code, field, message));
    if budgets.len() > Budget::BUDGETS_MAX {
        let message = format!("more than {} budgets", Budget::BUDGETS_MAX);
        return refuse(RefusalCode::BudgetExceeded, "budgets".to_owned(), message);
    }
    let mut checked = BTreeMap::new();
    for (index, Budget { name, min_available }) in budgets.into_iter().enumerate() {
        if checked.contains_key(&name) {
            let message = format!("{name} is named twice");
            return refuse(RefusalCode::AlreadyExists, format!("budgets[{index}].name"), message);
        }
        checked.insert(name, min_available);
    }
    Ok(checked)
}
