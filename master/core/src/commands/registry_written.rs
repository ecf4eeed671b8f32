//! A write is durable: what waited for it happens now.

use crate::effect::OperationId;
use crate::master::Master;
use crate::state::pending::Continuation;
use proffer_types::Now;

impl Master {
    pub(crate) fn registry_written(&mut self, operation: OperationId, now: Now) {
        let Some(waiting) = self.pending.written(operation) else { return };
        for continuation in waiting {
            self.go_on(operation, continuation, now);
        }
    }

    fn go_on(&mut self, operation: OperationId, continuation: Continuation, now: Now) {
        match continuation {
            Continuation::Lead => self.lead(now),
            Continuation::AdmitAgent(name) => self.agent_admitted(&name, now),
            Continuation::RegisterAgent(id) => {
                self.agent_written(id);
                self.resume_registration(id, now);
            }
            Continuation::AgentUnreachable(id, since) => self.agent_unreachable(id, since, now),
            Continuation::AgentGone(id, reply_to) => self.agent_gone(id, reply_to, now),
            Continuation::AgentMode(id, mode, reply_to) => {
                self.agent_mode_written(id, mode, reply_to, now);
            }
            Continuation::Maintenance(id, record, reply_to) => {
                self.window_written(id, record, reply_to, now);
            }
            Continuation::CreateFramework(name) => self.framework_created(&name, now),
            Continuation::ActivateFramework(id) => self.framework_activated(id, now),
            Continuation::FrameworkEnded(id) => self.framework_ended(id, now),
            Continuation::FrameworkSwept { framework, all } => {
                self.framework_swept(framework, all);
            }
            Continuation::SetRole(role, config, reply_to) => {
                self.role_written(&role, config, reply_to, now);
            }
            Continuation::Launch { agent, session, gang, launches, templates } => {
                self.send_launches((agent, session), gang, launches, &templates);
            }
            Continuation::GangDecided(id) => self.gang_decided(id, now),
            Continuation::GangEnded(id) => self.gang_ended(id),
            Continuation::Hold { id, reply } => self.hold_written(id, reply, now),
            Continuation::Occupancy(agent) => self.occupancy.written(agent, operation),
            Continuation::StateCommitted { framework, epoch, request, versions, bytes } => {
                self.state_written(framework, bytes);
                self.state_committed(framework, epoch, request, versions);
            }
        }
    }
}
