//! Sets a role's record: durable before the allocator goes by it.

use crate::effect::{ReplyTo, WriteLane};
use crate::limits;
use crate::master::Master;
use crate::registry::{Record, RecordKey, RegistryChange};
use crate::state::changes::RowKey;
use crate::state::pending::Continuation;
use proffer_allocator::Delta;
use proffer_types::role::RoleConfig;
use proffer_types::{Milli, Now, Quantities, Refusal, RefusalCode, ResourceName, RoleName};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound::{Excluded, Unbounded};

impl Master {
    pub(crate) fn set_role(
        &mut self,
        reply_to: ReplyTo,
        role: RoleName,
        config: RoleConfig,
    ) -> Result<(), Refusal> {
        self.check(|master| master.check_role(&role, &config))?;
        self.roles.asked.insert(role.clone(), config.clone());
        let change =
            RegistryChange::put(RecordKey::Role(role.clone()), Record::Role(config.clone()));
        let then = Continuation::SetRole(role, config, reply_to);
        self.persist(WriteLane::Registry, vec![change], then);
        Ok(())
    }

    fn check_role(&self, role: &RoleName, config: &RoleConfig) -> Result<(), Refusal> {
        config.validate()?;
        let asked = &self.roles.asked;
        if !asked.contains_key(role) && asked.len() >= limits::ROLES_MAX {
            return Err(Refusal::new(
                RefusalCode::BudgetExceeded,
                "role",
                format!("{} roles have records", limits::ROLES_MAX),
            ));
        }
        Asked { asked, change: Some((role, config)) }.check(role)
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
        let mut message = format!("role {role} has weight {}", Milli(config.weight_milli));
        for (what, amounts) in [("guarantee", &config.guarantee), ("limit", &config.limit)] {
            if !amounts.is_empty() {
                message.push_str(&format!(", {what} {amounts}"));
            }
        }
        self.tell_allocator(Delta::RoleSet { role: role.clone(), config });
        for notice in self.notices(role) {
            message.push_str(&format!("; {notice}"));
        }
        for role in crate::state::roles::Roles::path(role) {
            self.row(RowKey::Role(role));
        }
        self.event("role_set", role.to_string(), message.clone(), now);
        self.reply_done(reply_to, message);
    }

    /// What an operator should know of quotas that are in force but cannot be had.
    fn notices(&self, role: &RoleName) -> Vec<String> {
        let config = self.roles.table.get(role).and_then(|entry| entry.config.as_ref());
        let Some(config) = config else { return Vec::new() };
        let consumed = self.allocator.consumed(role);
        let over = config.limit.iter().filter_map(|(name, limit)| {
            let has = consumed.scalar(name);
            let show = |value| name.display_scalar(value);
            (has > limit).then(|| {
                format!(
                    "it uses and holds {name} {} of at most {}: offers go back, no task is ended, and \
                     it gets no more",
                    show(has),
                    show(limit)
                )
            })
        });
        let mut notices: Vec<String> = over.collect();
        let promised = Asked { asked: &self.roles.asked, change: None }.promised_to_all();
        let total = self.allocator.total();
        notices.extend(config.guarantee.iter().filter_map(|(name, _)| {
            let (promised, has) = (promised.get(name).unwrap_or(0), total.scalar(name));
            let show = |value| name.display_scalar(value);
            (promised > has).then(|| {
                format!(
                    "all roles are guaranteed {name} {}, and agents have {}",
                    show(promised),
                    show(has)
                )
            })
        }));
        notices
    }
}

fn invalid(field: &str, message: String) -> Refusal {
    Refusal::new(RefusalCode::InvalidArgument, field, message)
}

fn shown(amounts: &Quantities, name: &ResourceName) -> String {
    format!("{name} {}", name.display_scalar(amounts.get(name).unwrap_or(0)))
}

/// What was asked for, with one more change.
struct Asked<'a> {
    asked: &'a BTreeMap<RoleName, RoleConfig>,
    change: Option<(&'a RoleName, &'a RoleConfig)>,
}

impl Asked<'_> {
    /// Quotas of the whole tree agree: a role is guaranteed at least what the roles below it are
    /// guaranteed, where it has a guarantee, and nothing is guaranteed beyond a limit above it.
    fn check(&self, role: &RoleName) -> Result<(), Refusal> {
        for above in std::iter::successors(Some(role.clone()), RoleName::parent) {
            let Some(own) = self.get(&above) else { continue };
            let is_own = above == *role;
            let below = self.promised_below(&above);
            if let Some(name) = below.first_above(&own.guarantee) {
                let (below, own) = (shown(&below, name), shown(&own.guarantee, name));
                let message = match is_own {
                    true => format!("is less than the {below} of the roles below {role}"),
                    false => format!("makes {below} for the roles below {above}, which has {own}"),
                };
                return Err(invalid("guarantee", message)
                    .hint("a role shares its guarantee with the roles below it"));
            }
            if let Some(name) = self.promised(&above).first_above(&own.limit) {
                let promised = shown(&self.promised(&above), name);
                let limit = shown(&own.limit, name);
                return Err(match is_own {
                    true => invalid("limit", format!("is below the guarantee of {promised}")),
                    false => invalid(
                        "guarantee",
                        format!("makes {promised} below {above}, which is limited to {limit}"),
                    ),
                });
            }
        }
        Ok(())
    }

    fn get(&self, role: &RoleName) -> Option<&RoleConfig> {
        match self.change {
            Some((changed, config)) if changed == role => Some(config),
            Some(_) | None => self.asked.get(role),
        }
    }

    /// What a role is guaranteed; where that says nothing, what the roles below it are.
    fn promised(&self, role: &RoleName) -> Quantities {
        let mut sum = self.get(role).map(|own| own.guarantee.clone()).unwrap_or_default();
        for (name, value) in self.promised_below(role).iter() {
            sum.insert(name.clone(), value);
        }
        sum
    }

    /// What the children of a role are guaranteed together.
    fn promised_below(&self, role: &RoleName) -> Quantities {
        // Also names such as `a-b` stand between `a` and `a/x`.
        let from = self.asked.range((Excluded(role), Unbounded)).map(|(below, _)| below);
        let below = from.take_while(|below| below.as_str().starts_with(role.as_str()));
        let below = below.filter(|below| below.is_within(role));
        let changed =
            self.change.map(|(changed, _)| changed).filter(|r| *r != role && r.is_within(role));
        self.sum(Some(role), below.chain(changed))
    }

    fn promised_to_all(&self) -> Quantities {
        self.sum(None, self.asked.keys().chain(self.change.map(|(changed, _)| changed)))
    }

    fn sum<'a>(
        &self,
        parent: Option<&RoleName>,
        below: impl Iterator<Item = &'a RoleName>,
    ) -> Quantities {
        let with_above = |r: &RoleName| std::iter::successors(Some(r.clone()), RoleName::parent);
        let children = below.flat_map(with_above).filter(|r| r.parent().as_ref() == parent);
        let children: BTreeSet<RoleName> = children.collect();
        let parts = children.iter().map(|child| self.promised(child));
        parts.fold(Quantities::new(), |sum, part| sum.saturating_add(&part))
    }
}
