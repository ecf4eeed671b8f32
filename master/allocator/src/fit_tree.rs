//! Finds an agent with enough free of everything without looking at all of them: a tournament
//! tree over agent slots, each node with the largest free amount below it in each dimension.

use crate::amounts::{Amounts, CPUS, MEM};
use smallvec::SmallVec;

/// Memory that goes with one thousandth of a core in the combined dimension.
const BYTES_PER_MILLI: u64 = 4 << 20;

/// What is looked for.
#[derive(Clone, Debug, Default)]
pub(crate) struct Need {
    /// Dimensions with an amount above zero.
    amounts: SmallVec<[(usize, u64); 4]>,
    combined: u64,
    /// Bits of the agent classes that may do.
    pub(crate) classes: u64,
}

impl Need {
    pub(crate) fn new(amounts: &Amounts, classes: u64) -> Self {
        Self {
            amounts: amounts.iter().filter(|(_, value)| *value > 0).collect(),
            combined: combined(amounts),
            classes,
        }
    }

    pub(crate) fn with_classes(&self, classes: u64) -> Self {
        Self { classes, ..self.clone() }
    }
}

/// How many thousandths of a core have their memory beside them. An agent out of cpus or out of
/// memory has none, so a node above two such agents does not look as if a task could fit.
pub(crate) fn combined(amounts: &Amounts) -> u64 {
    amounts.get(CPUS).min(amounts.get(MEM) / BYTES_PER_MILLI)
}

/// Nodes are numbered from 1 as in a heap; leaf `slot` is node `leaves + slot`. A node has a value
/// for each dimension, then the combined one, then the classes as bits. All zero: no agent.
#[derive(Clone, Debug)]
pub(crate) struct FitTree {
    dimensions: usize,
    leaves: usize,
    values: Vec<u64>,
}

impl FitTree {
    pub(crate) fn new(dimensions: usize) -> Self {
        let mut tree = Self { dimensions, leaves: 1, values: Vec::new() };
        tree.values = vec![0; 2 * tree.stride()];
        tree
    }

    fn stride(&self) -> usize {
        self.dimensions + 2
    }

    fn node(&self, node: usize) -> &[u64] {
        let stride = self.stride();
        &self.values[node * stride..(node + 1) * stride]
    }

    /// Makes room for more dimensions. Rare: a resource name was seen for the first time.
    pub(crate) fn widen(&mut self, dimensions: usize) {
        if dimensions <= self.dimensions {
            return;
        }
        let mut wide = Self { dimensions, leaves: self.leaves, values: Vec::new() };
        let stride = wide.stride();
        wide.values = vec![0; 2 * self.leaves * stride];
        for node in 0..2 * self.leaves {
            let (amounts, rest) = self.node(node).split_at(self.dimensions);
            let at = node * stride;
            wide.values[at..at + self.dimensions].copy_from_slice(amounts);
            wide.values[at + dimensions..at + stride].copy_from_slice(rest);
        }
        *self = wide;
    }

    fn grow(&mut self, slot: usize) {
        let leaves = (slot + 1).next_power_of_two();
        if leaves <= self.leaves {
            return;
        }
        let stride = self.stride();
        let mut grown =
            Self { dimensions: self.dimensions, leaves, values: vec![0; 2 * leaves * stride] };
        let old = &self.values[self.leaves * stride..];
        grown.values[leaves * stride..leaves * stride + old.len()].copy_from_slice(old);
        for node in (1..leaves).rev() {
            grown.pull(node);
        }
        *self = grown;
    }

    /// Recomputes a node from its children; `false` when it stayed the same.
    fn pull(&mut self, node: usize) -> bool {
        let stride = self.stride();
        let (above, below) = self.values.split_at_mut(2 * node * stride);
        let node = &mut above[node * stride..(node + 1) * stride];
        let (left, right) = below[..2 * stride].split_at(stride);
        let amounts = stride - 1;
        let mut changed = 0;
        for ((have, left), right) in node[..amounts].iter_mut().zip(left).zip(right) {
            let value = *left.max(right);
            changed |= *have ^ value;
            *have = value;
        }
        let classes = left[amounts] | right[amounts];
        changed |= node[amounts] ^ classes;
        node[amounts] = classes;
        changed != 0
    }

    /// States what is free in a slot. `class_bit` zero takes the slot out.
    pub(crate) fn set(&mut self, slot: u32, free: &Amounts, class_bit: u64) {
        let slot = slot as usize;
        self.grow(slot);
        let (stride, dimensions) = (self.stride(), self.dimensions);
        let at = (self.leaves + slot) * stride;
        let leaf = &mut self.values[at..at + stride];
        leaf.fill(0);
        if class_bit != 0 {
            for (dimension, value) in free.iter() {
                leaf[dimension] = value;
            }
            leaf[dimensions] = combined(free);
            leaf[dimensions + 1] = class_bit;
        }
        let mut node = (self.leaves + slot) / 2;
        while node > 0 && self.pull(node) {
            node /= 2;
        }
    }

    #[inline]
    fn fits(&self, node: usize, need: &Need) -> bool {
        let values = self.node(node);
        values[self.dimensions + 1] & need.classes != 0
            && values[self.dimensions] >= need.combined
            && need.amounts.iter().all(|(dimension, value)| values[*dimension] >= *value)
    }

    /// Whether this slot has what is needed.
    pub(crate) fn slot_fits(&self, slot: u32, need: &Need) -> bool {
        (slot as usize) < self.leaves && self.fits(self.leaves + slot as usize, need)
    }

    /// The lowest slot at or after `from` that fits and that `accept` takes.
    pub(crate) fn first(
        &self,
        need: &Need,
        from: u32,
        mut accept: impl FnMut(u32) -> bool,
    ) -> Option<u32> {
        if from as usize >= self.leaves {
            return None;
        }
        let mut node = if from == 0 { 1 } else { self.leaves + from as usize };
        loop {
            if self.fits(node, need) {
                if node < self.leaves {
                    node *= 2;
                    continue;
                }
                let slot = u32::try_from(node - self.leaves).expect("slots are u32");
                if accept(slot) {
                    return Some(slot);
                }
            }
            while node % 2 == 1 {
                node /= 2;
                if node == 0 {
                    return None;
                }
            }
            node += 1;
        }
    }

    /// The slot with the most cpus and memory free that fits and that `accept` takes; of equal
    /// ones the lowest.
    pub(crate) fn roomiest(&self, need: &Need, mut accept: impl FnMut(u32) -> bool) -> Option<u32> {
        let mut best: Option<(u64, usize)> = None;
        let mut stack: SmallVec<[usize; 40]> = SmallVec::new();
        stack.push(1);
        while let Some(node) = stack.pop() {
            if !self.fits(node, need) {
                continue;
            }
            let room = self.node(node)[self.dimensions];
            if best.is_some_and(|(most, slot)| {
                room < most || (room == most && self.lowest_slot(node) > slot)
            }) {
                continue;
            }
            if node >= self.leaves {
                let slot = node - self.leaves;
                if accept(u32::try_from(slot).expect("slots are u32")) {
                    best = Some((room, slot));
                }
                continue;
            }
            let (left, right) = (2 * node, 2 * node + 1);
            let left_first = self.node(left)[self.dimensions] >= self.node(right)[self.dimensions];
            stack.extend(if left_first { [right, left] } else { [left, right] });
        }
        best.map(|(_, slot)| u32::try_from(slot).expect("slots are u32"))
    }

    fn lowest_slot(&self, node: usize) -> usize {
        let depth = (self.leaves.ilog2()) - node.ilog2();
        (node << depth) - self.leaves
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn amounts(cpus: u64, mem: u64) -> Amounts {
        let mut amounts = Amounts::default();
        amounts.set(CPUS, cpus);
        amounts.set(MEM, mem * BYTES_PER_MILLI);
        amounts
    }

    proptest! {
        #[test]
        fn the_tree_finds_what_a_scan_finds(
            steps in prop::collection::vec((0u32..40, 0u64..8, 0u64..8, 0u32..4), 1..80),
            cpus in 0u64..8, mem in 0u64..8, classes in 1u64..8, from in 0u32..40, odd in any::<bool>(),
        ) {
            let mut tree = FitTree::new(2);
            let mut plain = std::collections::BTreeMap::new();
            for (index, (slot, c, m, class)) in steps.into_iter().enumerate() {
                if index == 20 {
                    tree.widen(6);
                }
                let bit = if class == 3 { 0 } else { 1 << class };
                tree.set(slot, &amounts(c, m), bit);
                plain.insert(slot, (c, m, bit));
            }
            let need = Need::new(&amounts(cpus, mem), classes);
            let fits = |slot: &u32| {
                let (c, m, bit) = plain[slot];
                c >= cpus && m >= mem && bit & classes != 0 && (!odd || slot % 2 == 1)
            };
            let accept = |slot: u32| !odd || slot % 2 == 1;
            prop_assert_eq!(
                tree.first(&need, from, accept),
                plain.keys().copied().filter(fits).find(|slot| *slot >= from)
            );
            let room = |slot: &u32| plain[slot].0.min(plain[slot].1);
            prop_assert_eq!(
                tree.roomiest(&need, accept),
                plain.keys().copied().filter(fits)
                    .min_by_key(|slot| (std::cmp::Reverse(room(slot)), *slot))
            );
        }
    }
}
