//! A set of agent slots: a bit for each, and a bit for each word that has any.

/// Slots, in ascending order.
#[derive(Clone, Debug, Default)]
pub(crate) struct SlotSet {
    words: Vec<u64>,
    /// Bit `n` of these: word `n` is not zero.
    summary: Vec<u64>,
}

const BITS: usize = 64;

fn place(index: usize) -> (usize, u64) {
    (index / BITS, 1 << (index % BITS))
}

impl SlotSet {
    pub(crate) fn insert(&mut self, slot: u32) {
        let (word, bit) = place(slot as usize);
        if self.words.len() <= word {
            self.words.resize(word + 1, 0);
            self.summary.resize(word / BITS + 1, 0);
        }
        self.words[word] |= bit;
        let (above, bit) = place(word);
        self.summary[above] |= bit;
    }

    pub(crate) fn remove(&mut self, slot: u32) {
        let (word, bit) = place(slot as usize);
        let Some(bits) = self.words.get_mut(word) else { return };
        *bits &= !bit;
        if *bits == 0 {
            let (above, bit) = place(word);
            self.summary[above] &= !bit;
        }
    }

    pub(crate) fn contains(&self, slot: u32) -> bool {
        let (word, bit) = place(slot as usize);
        self.words.get(word).is_some_and(|bits| bits & bit != 0)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.summary.iter().all(|bits| *bits == 0)
    }

    pub(crate) fn first(&self) -> Option<u32> {
        let above = self.summary.iter().position(|bits| *bits != 0)?;
        let word = above * BITS + self.summary[above].trailing_zeros() as usize;
        let slot = word * BITS + self.words[word].trailing_zeros() as usize;
        Some(u32::try_from(slot).expect("slots are u32"))
    }

    pub(crate) fn clear(&mut self) {
        self.words.fill(0);
        self.summary.fill(0);
    }

    /// Takes all of another set in, and says how many words that were.
    pub(crate) fn add_all(&mut self, other: &SlotSet) -> u64 {
        if self.words.len() < other.words.len() {
            self.words.resize(other.words.len(), 0);
            self.summary.resize(other.summary.len(), 0);
        }
        for (have, more) in self.words.iter_mut().zip(&other.words) {
            *have |= more;
        }
        for (have, more) in self.summary.iter_mut().zip(&other.summary) {
            *have |= more;
        }
        other.words.len() as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    proptest! {
        #[test]
        fn a_slot_set_is_a_set(
            steps in prop::collection::vec((any::<bool>(), 0u32..9000), 1..60),
            more in prop::collection::vec(0u32..20_000, 0..5),
        ) {
            let (mut set, mut plain) = (SlotSet::default(), BTreeSet::new());
            for (insert, slot) in steps {
                if insert {
                    set.insert(slot);
                    plain.insert(slot);
                } else {
                    set.remove(slot);
                    plain.remove(&slot);
                }
                prop_assert_eq!(set.first(), plain.first().copied());
                prop_assert_eq!(set.is_empty(), plain.is_empty());
            }
            let mut other = SlotSet::default();
            more.iter().for_each(|slot| other.insert(*slot));
            set.add_all(&other);
            plain.extend(more);
            while let Some(slot) = set.first() {
                prop_assert_eq!(plain.pop_first(), Some(slot));
                prop_assert!(set.contains(slot));
                set.remove(slot);
            }
            prop_assert!(plain.is_empty());
        }
    }
}
