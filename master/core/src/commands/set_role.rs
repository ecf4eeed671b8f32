//! Sets a role's record: durable before the allocator goes by it.

use crate::effect::{ReplyTo, WriteLane};
use crate::limits;
use crate::master::Master;
use crate::registry::{Record, RecordKey, RegistryChange};
use crate::state::changes::RowKey;
use crate::state::pending::Continuation;
use proffer_allocator::Delta;
use proffer_types::role::RoleConfig;
use proffer_types::{Now, Refusal, RefusalCode, RoleName};

impl Master {
    pub(crate) fn set_role(
        &mut self,
        reply_to: ReplyTo,
        role: RoleName,
        config: RoleConfig,
    ) -> Result<(), Refusal> {
        self.check(|master| master.check_role(&role, &config))?;
        self.roles.configured.insert(role.clone());
        let change =
            RegistryChange::put(RecordKey::Role(role.clone()), Record::Role(config.clone()));
        let then = Continuation::SetRole(role, config, reply_to);
        self.persist(WriteLane::Registry, vec![change], then);
        Ok(())
    }

    fn check_role(&self, role: &RoleName, config: &RoleConfig) -> Result<(), Refusal> {
        config.validate()?;
        let known = self.roles.configured.contains(role);
        if !known && self.roles.configured.len() >= limits::ROLES_MAX {
            return Err(Refusal::new(
                RefusalCode::BudgetExceeded,
                "role",
                format!("{} roles have records", limits::ROLES_MAX),
            ));
        }
        Ok(())
    }

    /// The role's record is durable. Writes of one record come back in their order.
    pub(crate) fn role_written(
        &mut self,
        role: &RoleName,
        config: RoleConfig,
        reply_to: ReplyTo,
        now: Now,
    ) {
        self.roles.entry(role).config = Some(config.clone());
        let weight = proffer_types::Milli(config.weight_milli);
        self.tell_allocator(Delta::RoleSet { role: role.clone(), config });
        self.row(RowKey::Role(role.clone()));
        let message = format!("role {role} has weight {weight}");
        self.event("role_set", role.to_string(), message.clone(), now);
        self.reply_done(reply_to, message);
    }
}
