//! Few samples, said plainly: the median, and how far they spread.

/// Median, smallest and largest of some samples.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Spread {
    pub(crate) median: f64,
    pub(crate) min: f64,
    pub(crate) max: f64,
}

/// None when there are no samples.
pub(crate) fn spread(samples: &[f64]) -> Option<Spread> {
    let mut sorted: Vec<f64> = samples.iter().copied().filter(|s| s.is_finite()).collect();
    sorted.sort_by(f64::total_cmp);
    let (min, max) = (*sorted.first()?, *sorted.last()?);
    let middle = sorted.len() / 2;
    let median = if sorted.len() % 2 == 1 {
        sorted[middle]
    } else {
        f64::midpoint(sorted[middle - 1], sorted[middle])
    };
    Some(Spread { median, min, max })
}

/// Ours over theirs, round by round: what was slow in one round was slow for both, so a pair says
/// more than two medians. Without pairs (different numbers of samples) the medians are compared.
pub(crate) fn ratios(ours: &[f64], theirs: &[f64]) -> Option<Spread> {
    if ours.len() == theirs.len() {
        return spread(&ours.iter().zip(theirs).map(|(a, b)| a / b).collect::<Vec<_>>());
    }
    let ratio = spread(ours)?.median / spread(theirs)?.median;
    spread(&[ratio])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_median_lies_in_the_middle() {
        assert_eq!(spread(&[]), None);
        assert_eq!(spread(&[3.0]), Some(Spread { median: 3.0, min: 3.0, max: 3.0 }));
        assert_eq!(spread(&[9.0, 1.0, 2.0]), Some(Spread { median: 2.0, min: 1.0, max: 9.0 }));
        assert_eq!(spread(&[4.0, 1.0, 2.0, 9.0]).map(|s| s.median), Some(3.0));
        assert_eq!(spread(&[f64::NAN, 2.0]).map(|s| s.max), Some(2.0));
    }

    #[test]
    fn rounds_are_compared_with_themselves() {
        // The second round was ten times slower for both: the ratio stands.
        let paired = ratios(&[2.0, 20.0, 2.2], &[1.0, 10.0, 1.0]).expect("samples");
        assert_eq!((paired.median, paired.min, paired.max), (2.0, 2.0, 2.2));
        assert_eq!(ratios(&[2.0, 4.0], &[1.0]).map(|r| r.median), Some(3.0));
        assert_eq!(ratios(&[], &[]), None);
    }
}
