//! Splitting a number by weights, within room.

/// A part that takes a share.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Part {
    /// Share compared with the others; 0 takes nothing.
    pub(crate) weight: u32,
    /// Most it can take.
    pub(crate) room: u32,
}

/// Splits `total` over `parts` in proportion to their weights. What one part has no room for goes
/// to the others. The sum is `total`, or all the room there is.
///
/// Largest remainder, ties to the earlier part: equal input gives an equal split.
pub(crate) fn split(total: u32, parts: &[Part]) -> Vec<u32> {
    let mut shares = vec![0; parts.len()];
    let mut open: Vec<usize> =
        (0..parts.len()).filter(|&i| parts[i].weight > 0 && parts[i].room > 0).collect();
    let mut left = total;
    // Each round fills at least one part or ends: at most as many rounds as parts.
    while left > 0 && !open.is_empty() {
        let wanted = by_weight(left, &open, parts);
        let overfull: Vec<usize> =
            (0..open.len()).filter(|&at| wanted[at] >= parts[open[at]].room).collect();
        if overfull.is_empty() {
            for (at, &i) in open.iter().enumerate() {
                shares[i] = wanted[at];
            }
            return shares;
        }
        for &at in &overfull {
            shares[open[at]] = parts[open[at]].room;
            left -= parts[open[at]].room;
        }
        open.retain(|&i| shares[i] == 0);
    }
    shares
}

/// Largest remainder over the open parts; the sum is exactly `total`.
fn by_weight(total: u32, open: &[usize], parts: &[Part]) -> Vec<u32> {
    let weights: u64 = open.iter().map(|&i| u64::from(parts[i].weight)).sum();
    let exact = |i: usize| u64::from(total) * u64::from(parts[i].weight);
    let floor = |i: usize| u32::try_from(exact(i) / weights).unwrap_or(u32::MAX);
    let mut wanted: Vec<u32> = open.iter().map(|&i| floor(i)).collect();
    let mut missing = total - wanted.iter().sum::<u32>();
    let mut order: Vec<usize> = (0..open.len()).collect();
    order.sort_by_key(|&at| (std::cmp::Reverse(exact(open[at]) % weights), at));
    for at in order {
        if missing == 0 {
            break;
        }
        wanted[at] += 1;
        missing -= 1;
    }
    wanted
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parts(list: &[(u32, u32)]) -> Vec<Part> {
        list.iter().map(|&(weight, room)| Part { weight, room }).collect()
    }

    #[test]
    fn shares_follow_the_weights() {
        assert_eq!(split(10, &parts(&[(1, 99), (1, 99)])), [5, 5]);
        assert_eq!(split(10, &parts(&[(3, 99), (1, 99)])), [8, 2]);
        assert_eq!(split(10, &parts(&[(1, 3), (1, 99)])), [3, 7]);
        assert_eq!(split(10, &parts(&[(0, 99), (1, 4)])), [0, 4]);
    }

    proptest! {
        #[test]
        fn the_sum_is_the_total_or_all_room(
            total in 0..10_000_u32,
            list in prop::collection::vec((0..5_u32, 0..3_000_u32), 0..6),
        ) {
            let parts = parts(&list);
            let shares = split(total, &parts);
            let room: u32 = parts.iter().filter(|p| p.weight > 0).map(|p| p.room).sum();
            prop_assert_eq!(shares.iter().sum::<u32>(), total.min(room));
            for (share, part) in shares.iter().zip(&parts) {
                prop_assert!(*share <= part.room);
                prop_assert!(part.weight > 0 || *share == 0);
            }
        }
    }
}
