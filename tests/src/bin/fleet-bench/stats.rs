//! Samples, said plainly: the median of a few or a percentile of many, and how far they spread.

/// One figure for some samples, and their smallest and largest.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Spread {
    /// Their median, or the percentile that was asked for.
    pub(crate) point: f64,
    pub(crate) min: f64,
    pub(crate) max: f64,
}

/// The median; none when there are no samples.
pub(crate) fn spread(samples: &[f64]) -> Option<Spread> {
    let sorted = sorted(samples);
    let (min, max) = (*sorted.first()?, *sorted.last()?);
    let middle = sorted.len() / 2;
    let point = if sorted.len() % 2 == 1 {
        sorted[middle]
    } else {
        f64::midpoint(sorted[middle - 1], sorted[middle])
    };
    Some(Spread { point, min, max })
}

/// A percentile by nearest rank: the smallest sample that so many per cent of all do not exceed. It
/// is always one that was measured, and of few samples it is the largest, so it never flatters.
pub(crate) fn percentile(samples: &[f64], percent: u8) -> Option<Spread> {
    let sorted = sorted(samples);
    let (min, max) = (*sorted.first()?, *sorted.last()?);
    let rank = (sorted.len() * usize::from(percent)).div_ceil(100);
    let point = *sorted.get(rank.saturating_sub(1))?;
    Some(Spread { point, min, max })
}

fn sorted(samples: &[f64]) -> Vec<f64> {
    let mut sorted: Vec<f64> = samples.iter().copied().filter(|s| s.is_finite()).collect();
    sorted.sort_by(f64::total_cmp);
    sorted
}

/// Ours over theirs, round by round: what was slow in one round was slow for both, so a pair says
/// more than two medians. Without pairs (different numbers of samples) the medians are compared.
pub(crate) fn ratios(ours: &[f64], theirs: &[f64]) -> Option<Spread> {
    if ours.len() == theirs.len() {
        return spread(&ours.iter().zip(theirs).map(|(a, b)| a / b).collect::<Vec<_>>());
    }
    let ratio = spread(ours)?.point / spread(theirs)?.point;
    spread(&[ratio])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_median_lies_in_the_middle() {
        assert_eq!(spread(&[]), None);
        assert_eq!(spread(&[3.0]), Some(Spread { point: 3.0, min: 3.0, max: 3.0 }));
        assert_eq!(spread(&[9.0, 1.0, 2.0]), Some(Spread { point: 2.0, min: 1.0, max: 9.0 }));
        assert_eq!(spread(&[4.0, 1.0, 2.0, 9.0]).map(|s| s.point), Some(3.0));
        assert_eq!(spread(&[f64::NAN, 2.0]).map(|s| s.max), Some(2.0));
    }

    #[test]
    fn a_percentile_is_a_sample_and_never_flatters() {
        let hundred: Vec<f64> = (1..=100).rev().map(f64::from).collect();
        let at = |samples: &[f64], percent| percentile(samples, percent).map(|s| s.point);
        assert_eq!(at(&hundred, 99), Some(99.0));
        assert_eq!(at(&hundred, 50), Some(50.0));
        assert_eq!(at(&hundred, 100), Some(100.0));
        // 198 of 200 do not exceed it.
        let two_hundred: Vec<f64> = (1..=200).map(f64::from).collect();
        assert_eq!(at(&two_hundred, 99), Some(198.0));
        assert_eq!(at(&[1.0, 9.0, f64::NAN], 99), Some(9.0), "the largest of few");
        assert_eq!(at(&[7.0], 0), Some(7.0));
        assert_eq!(percentile(&[], 99), None);
        assert_eq!(percentile(&[1.0, 9.0], 50).map(|s| (s.min, s.max)), Some((1.0, 9.0)));
    }

    #[test]
    fn rounds_are_compared_with_themselves() {
        // The second round was ten times slower for both: the ratio stands.
        let paired = ratios(&[2.0, 20.0, 2.2], &[1.0, 10.0, 1.0]).expect("samples");
        assert_eq!((paired.point, paired.min, paired.max), (2.0, 2.0, 2.2));
        assert_eq!(ratios(&[2.0, 4.0], &[1.0]).map(|r| r.point), Some(3.0));
        assert_eq!(ratios(&[], &[]), None);
    }
}
