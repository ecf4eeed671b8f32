//! K4: writes. The core is told that a write is durable only when the store has taken it, after it was
//! asked to; each write is answered once.

use super::holds;
use crate::sim::observe::{Checker, Seen};
use crate::sim::world::World;
use proffer_master_core::{Command, Effect, OperationId, WriteResult};
use std::collections::BTreeMap;

type Process = (usize, u64);
type Keys = Vec<Vec<u8>>;

/// See the module's description.
#[derive(Default)]
pub(super) struct Writes {
    /// Commits of each process so far, and with which of them it wrote each key last.
    commits: BTreeMap<Process, (u64, BTreeMap<Vec<u8>, u64>)>,
    /// Writes that wait: the commits before them, and their keys.
    open: BTreeMap<(Process, OperationId), (u64, Keys)>,
    looked: u64,
}

impl Checker for Writes {
    fn id(&self) -> &'static str {
        "K4"
    }

    fn see(&mut self, seen: &Seen<'_>, _world: &World) -> Result<(), String> {
        match seen {
            Seen::Committed { node, life, changes, .. } => {
                let (count, keys) = self.commits.entry((*node, *life)).or_default();
                *count += 1;
                for key in changes.keys() {
                    keys.insert(key.clone(), *count);
                }
            }
            Seen::Master { node, life, command, effects } => {
                let process = (*node, *life);
                if let Command::RegistryWritten { operation, result } = command {
                    let open = self.open.remove(&(process, *operation));
                    let Some((before, keys)) = open else {
                        return Err(format!("write {} is answered twice", operation.0));
                    };
                    self.looked += 1;
                    let (_, written) = self.commits.entry(process).or_default();
                    let missing = keys
                        .iter()
                        .find(|key| written.get(*key).is_none_or(|commit| *commit <= before));
                    let said = matches!(result, WriteResult::Committed);
                    holds(!said || missing.is_none(), || {
                        let key = missing.map(|key| String::from_utf8_lossy(key).into_owned());
                        format!("write {} counts as durable; {key:?} is not", operation.0)
                    })?;
                }
                for effect in *effects {
                    let Effect::Persist { operation, changes, .. } = effect else { continue };
                    let before = self.commits.get(&process).map_or(0, |(count, _)| *count);
                    let keys = changes.iter().map(|it| it.key.encode().into_bytes()).collect();
                    self.open.insert((process, *operation), (before, keys));
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn looked(&self) -> u64 {
        self.looked
    }
}
