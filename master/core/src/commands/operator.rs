//! Operators' calls: sorts them. They take the same path as all other commands.

use crate::effect::ReplyTo;
use crate::master::Master;
use crate::registry::AgentMode;
use crate::state::tasks::{KillOrder, TaskEntry};
use proffer_types::agent::KillCause;
use proffer_types::operator::{OperatorAnswer, OperatorCall};
use proffer_types::{Now, PrincipalName, Refusal, TaskKey};

use super::hold_plan::Claimant;

impl Master {
    pub(crate) fn operator(
        &mut self,
        reply_to: ReplyTo,
        principal: &PrincipalName,
        call: OperatorCall,
        now: Now,
    ) {
        if let Err(refusal) = self.operator_call(reply_to, principal, call, now) {
            self.reply(reply_to, OperatorAnswer::Refused(refusal));
        }
    }

    fn operator_call(
        &mut self,
        reply_to: ReplyTo,
        principal: &PrincipalName,
        call: OperatorCall,
        now: Now,
    ) -> Result<(), Refusal> {
        self.check(|master| {
            master.check_leading()?;
            if matches!(call, OperatorCall::KillTask(_)) {
                return Ok(());
            }
            master.pending.check_room()
        })?;
        match call {
            OperatorCall::MarkAgentGone { agent, force } => {
                self.mark_agent_gone(reply_to, agent, force)
            }
            OperatorCall::DrainAgent { agent, deadline } => {
                self.set_agent_mode(reply_to, agent, AgentMode::Draining { deadline })
            }
            OperatorCall::DeactivateAgent(id) => {
                self.set_agent_mode(reply_to, id, AgentMode::Deactivated)
            }
            OperatorCall::ActivateAgent(id) => self.set_agent_mode(reply_to, id, AgentMode::Active),
            OperatorCall::AddMaintenance(window) => self.add_maintenance(reply_to, window, now),
            OperatorCall::RemoveMaintenance(id) => self.remove_maintenance(reply_to, id),
            OperatorCall::StartMaintenance(id) => self.start_maintenance(reply_to, id),
            OperatorCall::EndMaintenance(id) => self.end_maintenance(reply_to, id),
            OperatorCall::TeardownFramework(id) => {
                let who = format!("{principal} ended it");
                self.check(|master| master.check_teardown(id))?;
                self.end_framework(id, Some(reply_to), &who, now);
                Ok(())
            }
            OperatorCall::KillTask(key) => self.operator_kill(reply_to, &key, now),
            OperatorCall::SetRole { role, config } => self.set_role(reply_to, role, config),
            OperatorCall::Hold { call, dry_run } => {
                let by = Claimant::Operator(principal.clone());
                let plan = self.check(|master| master.plan_hold(&by, &call))?;
                if dry_run {
                    self.reply_done(reply_to, plan.preview());
                } else {
                    self.begin_hold(plan, Some(reply_to));
                }
                Ok(())
            }
        }
    }

    fn operator_kill(&mut self, reply_to: ReplyTo, key: &TaskKey, now: Now) -> Result<(), Refusal> {
        let has_ended = self.check(|master| {
            master.check_kill(key, None)?;
            Ok::<_, Refusal>(master.tasks.get(key).is_some_and(TaskEntry::is_terminal))
        })?;
        if has_ended {
            self.reply_done(reply_to, format!("{key} has ended already"));
            return Ok(());
        }
        self.kill_task(key, KillOrder { policy: None, cause: KillCause::Operator }, now);
        self.reply_done(reply_to, format!("{key} is asked to end"));
        Ok(())
    }
}
