//! A framework has handled statuses: the agent may forget them, ended tasks are forgotten here (K15).

use crate::master::Master;
use crate::state::agents::Link;
use proffer_types::agent::AgentOrder;
use proffer_types::{AgentId, FrameworkId, LogIncarnation, TaskKey, TaskName};
use std::collections::BTreeSet;

/// With this incarnation a framework acknowledges that an agent is gone for good: what the master says
/// of it stems from no log.
const NO_LOG: LogIncarnation = LogIncarnation(0);

impl Master {
    /// Cumulative and safe to repeat.
    pub(crate) fn acknowledge(
        &mut self,
        framework: FrameworkId,
        agent: AgentId,
        incarnation: LogIncarnation,
        through: u64,
        except: BTreeSet<u64>,
    ) {
        let Some(entry) = self.agents.get_mut(agent) else { return };
        if incarnation == NO_LOG {
            self.acknowledge_gone(framework, agent);
            return;
        }
        let handled: Vec<(u64, TaskName)> = entry
            .logs
            .get(&(framework, incarnation))
            .map(|log| {
                log.waiting
                    .range(..=through)
                    .filter(|(sequence, _)| !except.contains(sequence))
                    .map(|(sequence, name)| (*sequence, name.clone()))
                    .collect()
            })
            .unwrap_or_default();
        for (sequence, name) in handled {
            let key = TaskKey { framework, name };
            if self.tasks.get(&key).is_some_and(|task| task.is_terminal()) {
                self.forget_task(&key);
            } else if let Some(log) = self
                .agents
                .get_mut(agent)
                .and_then(|entry| entry.logs.get_mut(&(framework, incarnation)))
            {
                log.waiting.remove(&sequence);
            }
        }
        // An older life of the log was handed over with the registration: the agent keeps the newest
        // status of each task, under its present incarnation.
        self.order(agent, AgentOrder::Acknowledge { framework, incarnation, through, except });
    }

    /// The framework knows that what it had on a gone agent is lost (K2).
    fn acknowledge_gone(&mut self, framework: FrameworkId, agent: AgentId) {
        if self.agents.get(agent).is_none_or(|entry| entry.link != Link::Gone) {
            return;
        }
        let keys: Vec<TaskKey> = self
            .agents
            .get(agent)
            .map(|entry| {
                entry.tasks.iter().filter(|key| key.framework == framework).cloned().collect()
            })
            .unwrap_or_default();
        for key in keys {
            self.forget_task(&key);
        }
        let trimmed = self.occupancy.trim(agent, |(owner, _)| *owner == framework);
        if trimmed && self.occupancy.pairs(agent).next().is_some() {
            self.write_occupancy(agent);
        }
        self.forget_gone_agent(agent);
    }
}
