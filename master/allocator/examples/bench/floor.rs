//! The bare algorithm: each agent goes whole to the framework with the lowest dominant share, out
//! of an ordered set. No constraints, filters, leases, ports or messages.

use std::collections::BTreeSet;

/// Gives `agents` agents of the benchmark's shape away; returns the sum of shares, so that nothing
/// is optimised out.
pub(crate) fn drf_floor(agents: u64, frameworks: u64) -> u64 {
    const FREE: [u64; 3] = [8_000, 2_082, 3_072];
    const HAS: [u64; 3] = [24_000, 4_096, 4_096];
    let total = HAS.map(|has| has * agents);
    let mut held = vec![[0u64; 3]; usize::try_from(frameworks).expect("a small number")];
    let mut order: BTreeSet<(u64, u64)> = (0..frameworks).map(|id| (0, id)).collect();
    for _ in 0..agents {
        let Some((_, id)) = order.pop_first() else { break };
        let held = &mut held[usize::try_from(id).expect("a small number")];
        let mut share = 0;
        for resource in 0..3 {
            held[resource] += FREE[resource];
            let part = u128::from(held[resource]) << 40;
            share =
                share.max(u64::try_from(part / u128::from(total[resource])).unwrap_or(u64::MAX));
        }
        order.insert((share, id));
    }
    order.iter().map(|(share, _)| share).sum()
}
