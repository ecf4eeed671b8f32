//! Budgets (K11): how many tasks of a kind are to stay available, whoever else wants their room. A framework
//! says all of them at once; what it has not said since this master leads stands with its launches.

use crate::master::Master;
use crate::state::tasks::TaskEntry;
use proffer_types::demand::Budget;
use proffer_types::{FrameworkId, GroupName, Refusal, RefusalCode, TaskKey, TaskState};
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

    /// How many tasks of a budget may be ended for others.
    pub(crate) fn spare_of(&self, (framework, name): &BudgetKey) -> usize {
        let budget = |task: &TaskEntry| {
            let budget = task.record.budget.as_ref().filter(|budget| budget.name == *name);
            budget.map(|budget| budget.min_available)
        };
        let tasks = || self.tasks.of(*framework).filter(|(_, task)| budget(task).is_some());
        let stated =
            self.frameworks.get(*framework).and_then(|entry| entry.budgets.get(name).copied());
        let newest = || tasks().max_by_key(|(_, task)| task.record.status.token);
        let kept = stated.or_else(|| budget(newest()?.1)).unwrap_or(0);
        let available = tasks().filter(|(key, task)| {
            task.record.status.state == TaskState::Running
                && task.record.status.ready != Some(false)
                && task.kill.is_none()
                && !self.claims.names(key, task)
        });
        if kept == 0 { usize::MAX } else { available.count().saturating_sub(kept as usize) }
    }
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
