//! Weighted dominant shares, compared exactly.

use crate::amounts::Amounts;
use std::cmp::Ordering;

/// `part / (whole × weight)`, the share that orders siblings. `floor` decides nearly always; where
/// it does not, the fractions are compared in full.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Share {
    floor: u128,
    part: u64,
    whole: u64,
    weight: u64,
}

impl Share {
    /// The largest of `charged ÷ basis` over all dimensions, divided by `weight`.
    pub(crate) fn dominant(charged: &Amounts, basis: &Amounts, weight: u64) -> Self {
        let (part, whole) = dominant(charged, basis);
        // floor(floor(x / a) / b) is floor(x / (a × b)), so the floor is monotone in the share.
        let floor = (u128::from(part) << 64) / u128::from(whole) / u128::from(weight);
        Self { floor, part, whole, weight }
    }
}

/// The largest `charged ÷ basis` as a fraction; 0/1 when there is nothing to divide.
pub(crate) fn dominant(charged: &Amounts, basis: &Amounts) -> (u64, u64) {
    let mut best = (0u64, 1u64);
    for (dimension, part) in charged.iter() {
        let whole = basis.get(dimension);
        if part == 0 || whole == 0 {
            continue;
        }
        if u128::from(part) * u128::from(best.1) > u128::from(best.0) * u128::from(whole) {
            best = (part, whole);
        }
    }
    best
}

impl PartialEq for Share {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}
impl Eq for Share {}
impl PartialOrd for Share {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Share {
    #[inline]
    fn cmp(&self, other: &Self) -> Ordering {
        self.floor.cmp(&other.floor).then_with(|| {
            if self.part == other.part && self.whole == other.whole && self.weight == other.weight {
                return Ordering::Equal;
            }
            product(self.part, other.whole, other.weight).cmp(&product(
                other.part,
                self.whole,
                self.weight,
            ))
        })
    }
}

/// `a × b × c` in 192 bits: high 128, low 64.
fn product(a: u64, b: u64, c: u64) -> (u128, u64) {
    let ab = u128::from(a) * u128::from(b);
    let low = u128::from(ab as u64) * u128::from(c);
    let high = (ab >> 64) * u128::from(c) + (low >> 64);
    (high, low as u64)
}

/// The common divisor of all values, so that clusters of equal composition have equal bases and
/// growing by equal agents reorders nobody.
pub(crate) fn reduced(totals: &Amounts) -> Amounts {
    let divisor = totals.iter().fold(0, |divisor, (_, value)| gcd(divisor, value)).max(1);
    let mut basis = Amounts::default();
    for (dimension, value) in totals.iter() {
        basis.set(dimension, value / divisor);
    }
    basis
}

fn gcd(mut a: u64, mut b: u64) -> u64 {
    while b != 0 {
        (a, b) = (b, a % b);
    }
    a
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn amounts(values: &[u64]) -> Amounts {
        let mut amounts = Amounts::default();
        values.iter().enumerate().for_each(|(d, v)| amounts.set(d, *v));
        amounts
    }

    fn odd() -> impl Strategy<Value = u64> {
        prop_oneof![1u64..20, Just(u64::MAX), Just(u64::MAX - 1), (1u64 << 40)..(1 << 41)]
    }

    proptest! {
        /// T18: the order of shares is the order of the fractions, also at the edges.
        #[test]
        fn shares_compare_as_fractions(
            a in odd(), b in odd(), x in odd(), y in odd(), v in 1u64..1_000_000_000, w in 1u64..9,
        ) {
            let left = Share::dominant(&amounts(&[a]), &amounts(&[x]), v);
            let right = Share::dominant(&amounts(&[b]), &amounts(&[y]), w);
            prop_assert_eq!(left.cmp(&right), product(a, y, w).cmp(&product(b, x, v)));
            prop_assert_eq!(left.cmp(&right), right.cmp(&left).reverse());
        }
    }

    #[test]
    fn the_dominant_dimension_is_the_largest_fraction() {
        assert_eq!(dominant(&amounts(&[1, 4]), &amounts(&[9, 18])), (4, 18));
        assert_eq!(dominant(&amounts(&[3, 1]), &amounts(&[9, 18])), (3, 9));
        assert_eq!(dominant(&amounts(&[0, 5]), &amounts(&[9, 0])), (0, 1));
    }

    #[test]
    fn equal_composition_has_equal_basis() {
        assert_eq!(reduced(&amounts(&[24, 36])), reduced(&amounts(&[48, 72])));
        assert_eq!(reduced(&amounts(&[0, 0])), amounts(&[0, 0]));
    }
}
