//! A call from a person or tool: carried out in memory, stored, then answered.

use crate::command::{ChangeKind, ReplyTo, ServiceChange, ServiceCommand, ServiceReply};
use crate::commands;
use crate::framework::{Answer, PendingCommit, ServiceFramework};
use proffer_sdk_core::Context;
use proffer_types::Refusal;

impl ServiceFramework {
    pub(crate) fn carry_out(&mut self, command: ServiceCommand, ctx: &mut Context) {
        if let Some(fault) = &self.fault {
            let refusal = fault.clone();
            self.answer(command.reply, Err(refusal));
            return;
        }
        let ServiceCommand { reply, author, call } = command;
        let outcome = match commands::apply(&mut self.services, call, &author, self.now) {
            Ok(outcome) => outcome,
            Err(refusal) => return self.answer(reply, Err(refusal)),
        };
        let answer = ServiceReply { services: outcome.changes };
        for change in &answer.services {
            self.dirty.insert(change.service.clone());
        }
        if outcome.writes.is_empty() {
            return self.answer(reply, Ok(answer));
        }
        let changed = answer.services.iter().filter(|it| it.change != ChangeKind::Unchanged);
        let note =
            |it: &ServiceChange| (it.service.clone(), format!("{} by {author}", describe(it)));
        let pending = PendingCommit {
            records: self.records_of(answer.services.iter().map(|change| &change.service)),
            notes: changed.map(note).collect(),
            answer: Some((reply, answer)),
            ..PendingCommit::default()
        };
        if let Err(refusal) = self.commit(outcome.writes, pending, ctx) {
            self.answer(reply, Err(refusal));
        }
    }

    fn answer(&mut self, reply: ReplyTo, result: Result<ServiceReply, Refusal>) {
        self.answers.push(Answer { reply, result });
    }
}

fn describe(change: &ServiceChange) -> String {
    let revision = change.revision;
    match change.change {
        ChangeKind::Created => format!("created as r{revision}"),
        ChangeKind::Updated => format!("r{revision} deployed"),
        ChangeKind::Unchanged => "left as it is".to_owned(),
        ChangeKind::Scaled => format!("scaled to {}", change.instances),
        ChangeKind::Retried => format!("rollout of r{revision} started anew"),
        ChangeKind::RolledBack => format!("rolled back as r{revision}"),
        ChangeKind::Restarted => "restart asked for".to_owned(),
        ChangeKind::Stopped => "stopped".to_owned(),
        ChangeKind::Started => "started".to_owned(),
        ChangeKind::Removed => "removal asked for".to_owned(),
    }
}
