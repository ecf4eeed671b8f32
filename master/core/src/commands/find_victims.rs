//! Which tasks would have to end so that a demand finds a place (K11). Looks at some agents a turn, and
//! changes nothing but the search itself.
//!
//! Victims are tasks of roles that hold beyond their guarantee, when the demand is owed one; or tasks of
//! lower priority in the same top role. Of all sets that make enough room on one agent the one is taken
//! whose highest priority is lowest, then the smallest, then the one that has run least; nothing in it is
//! needless. Guarantees and budgets (what is to stay available) are respected.
//!
//! Tasks that use what may be taken back at any time end before all others, whatever their priority and
//! their budget, for anybody; for who is owed a place at once, in whatever mode.

use crate::config::PreemptFor;
use crate::limits;
use crate::master::Master;
use crate::state::agents::Link;
use crate::state::claims::{Plan, Search, Wait, WhoEnds};
use crate::state::tasks::{Counted, Stage, TaskEntry};
use proffer_allocator::Starving;
use proffer_types::hold::taken;
use proffer_types::{
    AgentId, DemandKey, FrameworkId, GroupName, Monotonic, Now, Resources, RoleName, TaskKey,
    TaskState, WallTime,
};
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

use super::budgets::BudgetKey;

/// A task that may be ended, and what comes free with it.
struct Candidate<'a> {
    key: &'a TaskKey,
    task: &'a TaskEntry,
    frees: Resources,
    is_revocable: bool,
}

impl<'a> Candidate<'a> {
    fn new(key: &'a TaskKey, task: &'a TaskEntry) -> Self {
        let is_revocable = task.record.resources.is_revocable();
        Self { key, task, frees: frees(task), is_revocable }
    }

    fn rank(&self) -> (bool, i32, Reverse<WallTime>, &TaskKey) {
        let record = &self.task.record;
        (!self.is_revocable, record.priority, Reverse(record.status.at), self.key)
    }
}

/// What has to be left in peace, over all agents.
pub(crate) struct Bounds {
    who: WhoEnds,
    /// What victims of claims give up already.
    losses: BTreeMap<RoleName, Resources>,
    /// How many more tasks a budget can do without, of those looked at so far.
    spare: BTreeMap<FrameworkId, BTreeMap<GroupName, usize>>,
}

impl Master {
    /// Goes on with the search, or begins the next one. What it has found is claimed when it has seen all
    /// agents. Returns whether there is more to do soon.
    pub(crate) fn look_for_victims(&mut self, now: Now) -> bool {
        if self.config.preemption.preempt_for == PreemptFor::Nothing
            && self.claims.revocable.is_empty()
        {
            return false;
        }
        let starving = self.allocator.starving();
        self.note_starving(&starving, now.monotonic);
        // Agents that are awaited may have what is missing, and may make others overshoot (K11, K12).
        let is_awaited = |link| matches!(link, Link::Awaited { .. });
        if self.agents.table.values().any(|agent| is_awaited(agent.link)) {
            self.claims.search = None;
            return false;
        }
        // What else changes of a group, such as how many are missing, does not make a search worthless.
        let is_same = |one: &Starving, other: &Starving| {
            (&one.key, &one.role, &one.shape) == (&other.key, &other.role, &other.shape)
                && (one.fixed_ports, &one.creditor) == (other.fixed_ports, &other.creditor)
        };
        self.claims.search = self.claims.search.take().and_then(|mut search| {
            let current = starving.iter().find(|one| is_same(one, &search.starving))?;
            search.starving = current.clone();
            Some(search)
        });
        let Some(mut search) =
            self.claims.search.take().or_else(|| self.next_search(starving, now))
        else {
            return false;
        };
        let claimed = self.claims.of(&search.starving.key).len();
        let room = limits::CLAIMS_MAX.saturating_sub(self.claims.table.len());
        let missing = (search.starving.missing as usize).saturating_sub(claimed).min(room);
        let from = search.after.map_or(Bound::Unbounded, Bound::Excluded);
        let part = self.agents.table.range((from, Bound::Unbounded));
        let part: Vec<AgentId> = part.map(|(id, _)| *id).take(limits::SEARCH_AGENTS_MAX).collect();
        let mut bounds = self.bounds(search.who);
        for id in &part {
            if let Some(plan) = self.plan_victims(&search.starving, *id, &mut bounds, now) {
                search.note(plan, missing);
            }
        }
        if part.len() == limits::SEARCH_AGENTS_MAX {
            search.after = part.last().copied();
            self.claims.search = Some(search);
            return true;
        }
        self.claim_all(search, now);
        true
    }

    /// Remembers since when groups find no place. What is owed is looked for at once where somebody uses
    /// what may be taken back; everybody else waits.
    fn note_starving(&mut self, starving: &[Starving], now: Monotonic) {
        let keys: BTreeSet<&DemandKey> = starving.iter().map(|one| &one.key).collect();
        self.claims.waits.retain(|key, _| keys.contains(key));
        let later = now.after(self.config.preemption.after);
        for one in starving {
            let is_at_once = one.creditor.is_some() && !self.claims.revocable.is_empty();
            let look_at = if is_at_once { now } else { later };
            let new = Wait { since: now, look_at };
            let wait = self.claims.waits.entry(one.key.clone()).or_insert(new);
            let is_first = wait.look_at == wait.since.after(self.config.preemption.after);
            if is_at_once && is_first {
                wait.look_at = now;
            }
        }
    }

    fn next_search(&self, starving: Vec<Starving>, now: Now) -> Option<Search> {
        if self.claims.table.len() >= limits::CLAIMS_MAX {
            return None;
        }
        starving.into_iter().find_map(|one| {
            let wait = self.claims.waits.get(&one.key)?;
            let who = self.who_ends_for(&one, wait, now.monotonic);
            let is_due = wait.look_at <= now.monotonic
                && (who == WhoEnds::Anybody || !self.claims.revocable.is_empty())
                && self.claims.of(&one.key).len() < one.missing as usize;
            is_due.then(|| Search::new(one, who))
        })
    }

    fn who_ends_for(&self, one: &Starving, wait: &Wait, now: Monotonic) -> WhoEnds {
        let may = match self.config.preemption.preempt_for {
            PreemptFor::All => true,
            PreemptFor::Guarantees => one.creditor.is_some(),
            PreemptFor::Nothing => false,
        };
        let has_waited = wait.since.after(self.config.preemption.after) <= now;
        if may && has_waited { WhoEnds::Anybody } else { WhoEnds::Revocable }
    }

    pub(crate) fn bounds(&self, who: WhoEnds) -> Bounds {
        let mut losses: BTreeMap<RoleName, Resources> = BTreeMap::new();
        let named = self.claims.table.values().flat_map(|entry| entry.victims.keys());
        for task in named.filter_map(|key| self.tasks.get(key)) {
            if task.counted == Counted::Charged {
                add(&mut losses, &task.record.role, &charged(task));
            }
        }
        Bounds { who, losses, spare: BTreeMap::new() }
    }

    /// What would have to end on an agent, if that would do.
    pub(crate) fn plan_victims(
        &self,
        starving: &Starving,
        id: AgentId,
        bounds: &mut Bounds,
        now: Now,
    ) -> Option<Plan> {
        let agent = self.agents.get(id).filter(|agent| agent.takes_tasks())?;
        if self.claims.on(id).next().is_some() || !self.allocator.is_large_enough(&starving.key, id)
        {
            return None;
        }
        let known = agent.tasks.iter().filter_map(|key| Some((key, self.tasks.get(key)?)));
        let mut candidates: Vec<Candidate<'_>> = known
            .map(|(key, task)| Candidate::new(key, task))
            .filter(|candidate| self.may_end(starving, bounds.who, candidate))
            .collect();
        candidates.sort_by(|a, b| a.rank().cmp(&b.rank()));
        let is_owed = starving.creditor.is_some();
        let fits = |freed: &Resources| {
            self.allocator.would_fit(&starving.key, id, freed, is_owed, now.monotonic)
        };
        let mut losses = bounds.losses.clone();
        let mut used: BTreeMap<BudgetKey, usize> = BTreeMap::new();
        let mut taken: Vec<Candidate<'_>> = Vec::new();
        let mut freed = Resources::new();
        for candidate in candidates {
            if fits(&freed) {
                break;
            }
            let record = &candidate.task.record;
            let budget = Self::budget_of(candidate.key, candidate.task);
            if let Some(budget) = &budget {
                let (framework, name) = budget;
                let spare = bounds.spare.entry(*framework);
                let spare = spare.or_insert_with(|| self.spares_of(*framework));
                let spare = spare.get(name).copied().unwrap_or(0);
                let is_kept = used.get(budget).copied().unwrap_or(0) >= spare;
                if is_kept && !candidate.is_revocable {
                    continue;
                }
            }
            let Ok(more) = freed.checked_add(&candidate.frees) else { continue };
            let mut with = losses.clone();
            add(&mut with, &record.role, &charged(candidate.task));
            // Who takes what may be taken back can lose it whatever it is guaranteed beside it.
            if !candidate.is_revocable && !self.allocator.stay_guaranteed(&starving.role, &with) {
                continue;
            }
            if let Some(budget) = budget {
                *used.entry(budget).or_default() += 1;
            }
            (freed, losses) = (more, with);
            taken.push(candidate);
        }
        if taken.is_empty() || !fits(&freed) {
            return None;
        }
        spare_the_needless(&mut taken, fits);
        let age = |task: &TaskEntry| now.wall.0.saturating_sub(task.record.status.at.0);
        let for_good = taken.iter().filter(|it| !it.is_revocable);
        let highest = for_good.map(|it| it.task.record.priority).max();
        let cost = (highest, taken.len(), taken.iter().map(|it| age(it.task)).sum());
        Some(Plan { cost, agent: id, victims: taken.iter().map(|it| it.key.clone()).collect() })
    }

    fn may_end(&self, starving: &Starving, who: WhoEnds, candidate: &Candidate<'_>) -> bool {
        let Candidate { key, task, is_revocable, .. } = candidate;
        let record = &task.record;
        let is_own = key.framework == starving.key.framework
            && record.group.as_ref() == Some(&starving.key.group);
        let is_running = task.counted == Counted::Charged
            && task.stage == Stage::Reported
            && !task.is_terminal()
            && task.kill.is_none()
            && record.status.state != TaskState::Killing;
        let of_lower_priority = self.config.preemption.preempt_for == PreemptFor::All
            && top_of(&record.role) == top_of(&starving.role)
            && record.priority < starving.priority;
        let beyond_guarantee =
            starving.creditor.as_ref().is_some_and(|creditor| !record.role.is_within(creditor));
        is_running
            && !is_own
            && (*is_revocable
                || (who == WhoEnds::Anybody && (of_lower_priority || beyond_guarantee)))
            && !self.claims.names(key, task)
    }
}

/// Leaves those out without whom there is room as well, the most valuable first.
fn spare_the_needless(taken: &mut Vec<Candidate<'_>>, fits: impl Fn(&Resources) -> bool) {
    for at in (0..taken.len()).rev() {
        let others = taken.iter().enumerate().filter(|(other, _)| *other != at);
        let freed = Resources::sum(others.map(|(_, candidate)| &candidate.frees));
        if taken.len() > 1 && freed.is_ok_and(|freed| fits(&freed)) {
            taken.remove(at);
        }
    }
}

/// What comes free for everybody when a task ends.
fn frees(task: &TaskEntry) -> Resources {
    let taken = taken(&task.record.resources).unwrap_or_default();
    taken.filtered(|entry| entry.key.is_plain())
}

/// What of it its roles are charged.
fn charged(task: &TaskEntry) -> Resources {
    task.record.resources.filtered(|entry| entry.key.is_plain())
}

fn add(losses: &mut BTreeMap<RoleName, Resources>, role: &RoleName, more: &Resources) {
    // Only amounts count against guarantees.
    let amounts = more.entries().iter().filter_map(|entry| match &entry.quantity {
        proffer_types::Quantity::Scalar(value) => Some((entry.key.name.clone(), *value)),
        proffer_types::Quantity::Ranges(_) | proffer_types::Quantity::Set(_) => None,
    });
    let sum = losses.entry(role.clone()).or_default();
    if let Ok(total) = sum.checked_add(&Resources::scalars(amounts)) {
        *sum = total;
    }
}

fn top_of(role: &RoleName) -> RoleName {
    std::iter::successors(Some(role.clone()), RoleName::parent).last().unwrap_or(role.clone())
}
