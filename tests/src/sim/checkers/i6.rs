//! I6: quota. A new offer never takes a role and all below it beyond the limit that operators were told
//! is in force, counting tasks and offers. (What a returning agent or a lowered limit makes too much
//! stays, and then there are no new offers.)

use super::{holds, is_newest};
use crate::sim::observe::{Checker, Seen};
use crate::sim::world::World;
use proffer_master_core::{Command, Effect};
use proffer_types::offer::Offer;
use proffer_types::operator::{AgentCondition, Change, OperatorAnswer, OperatorCall};
use proffer_types::role::RoleConfig;
use proffer_types::{AgentId, Resources, RoleName};
use std::collections::BTreeMap;

/// See the module's description.
#[derive(Default)]
pub(super) struct Quota {
    /// What operators were told last of each role, as long as nothing else was asked since.
    set: BTreeMap<RoleName, RoleConfig>,
    /// Calls under way, by role.
    open: BTreeMap<RoleName, u32>,
    /// Whose calls these are.
    term: u64,
    looked: u64,
}

impl Quota {
    fn operators(&mut self, command: &Command, effects: &[Effect], world: &World) {
        if let Command::Operator { call: OperatorCall::SetRole { role, .. }, .. } = command {
            self.set.remove(role);
            *self.open.entry(role.clone()).or_default() += 1;
        }
        for effect in effects {
            let Effect::Reply { reply_to, answer, .. } = effect else { continue };
            let Some((_, _, OperatorCall::SetRole { role, config })) = world.asked.get(&reply_to.0)
            else {
                continue;
            };
            let open = self.open.entry(role.clone()).or_default();
            *open = open.saturating_sub(1);
            if *open == 0 && matches!(answer, OperatorAnswer::Done { .. }) {
                self.set.insert(role.clone(), config.clone());
            }
        }
    }

    fn offered(&mut self, offer: &Offer, world: &World) -> Result<(), String> {
        for (role, config) in self.set.iter().filter(|(role, _)| offer.role.is_within(role)) {
            // Agents that are not back yet are not counted; what they have too much stays (K12).
            let counts = |agent: &AgentId| {
                let condition = world.view.agents.get(agent).map(|row| row.condition);
                !matches!(
                    condition,
                    None | Some(AgentCondition::Awaited | AgentCondition::Unreachable)
                )
            };
            let tasks = world.view.tasks.values().filter(|task| {
                task.role.is_within(role)
                    && !task.status.state.is_terminal()
                    && counts(&task.status.agent)
            });
            let offers = world.view.offers.values().filter(|offer| offer.role.is_within(role));
            // What may be taken back counts for nobody.
            let counts_of = |held: &Resources| held.filtered(|entry| !entry.key.revocable);
            let held: Vec<Resources> = tasks
                .map(|task| counts_of(&task.resources))
                .chain(offers.map(|offer| counts_of(&offer.resources)))
                .collect();
            for (name, limit) in config.limit.iter() {
                self.looked += 1;
                let consumed: u64 = held.iter().map(|held| held.scalar(name)).sum();
                // What is reserved at or below the role counts against it already, used or not.
                let more = counts_of(&offer.resources).filtered(|entry| {
                    entry.key.reservations.last().is_none_or(|level| !level.role.is_within(role))
                });
                let within = more.scalar(name) == 0 || consumed <= limit;
                holds(within, || {
                    format!(
                        "{} makes {consumed} of {name} for {role}, which is limited to {limit}",
                        offer.id
                    )
                })?;
            }
        }
        Ok(())
    }
}

impl Checker for Quota {
    fn id(&self) -> &'static str {
        "I6"
    }

    fn see(&mut self, seen: &Seen<'_>, world: &World) -> Result<(), String> {
        if let Seen::Leased { term, .. } = seen
            && *term != self.term
        {
            self.term = *term;
            // What an earlier leader was asked may not have been written.
            self.open.clear();
            self.set.clear();
        }
        let Seen::Master { node, command, effects, .. } = seen else { return Ok(()) };
        if !is_newest(world, *node) {
            return Ok(());
        }
        self.operators(command, effects, world);
        for effect in *effects {
            let Effect::Publish { changes, .. } = effect else { continue };
            for change in changes {
                let Change::Offer(row) = change else { continue };
                if world.view.offers.contains_key(&row.id) {
                    self.offered(row, world)?;
                }
            }
        }
        Ok(())
    }

    fn looked(&self) -> u64 {
        self.looked
    }
}
