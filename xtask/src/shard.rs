//! A share of a list, for several machines: `2/3` is the second third, every third one from the second on.

use std::str::FromStr;

/// Which share.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shard {
    which: usize,
    of: usize,
}

impl FromStr for Shard {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let parsed = text.split_once('/').and_then(|(which, of)| {
            let (which, of) = (which.parse().ok()?, of.parse().ok()?);
            (1 <= which && which <= of).then_some(Self { which, of })
        });
        parsed.ok_or("expected K/N with 1 <= K <= N, for example 1/4")
    }
}

impl Shard {
    /// The share's part of a list. The parts of all shares are the whole list, and have nothing in common.
    pub fn part<T>(self, all: Vec<T>) -> Vec<T> {
        let mine = |(index, item)| (index % self.of == self.which - 1).then_some(item);
        all.into_iter().enumerate().filter_map(mine).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_parts_are_the_whole_and_differ_in_size_by_one_at_most() {
        for (length, of) in [(0, 1), (1, 3), (17, 4), (12, 5)] {
            let whole: Vec<u32> = (0..length).collect();
            let parts: Vec<Vec<u32>> = (1..=of)
                .map(|which| format!("{which}/{of}").parse::<Shard>().unwrap().part(whole.clone()))
                .collect();
            let sizes: Vec<usize> = parts.iter().map(Vec::len).collect();
            assert!(sizes.iter().max().unwrap() - sizes.iter().min().unwrap() <= 1, "{sizes:?}");
            let mut together = parts.concat();
            together.sort_unstable();
            assert_eq!(together, whole);
        }
    }

    #[test]
    fn what_is_no_share_is_refused() {
        for text in ["", "1", "0/2", "3/2", "a/b", "1/", "-1/2", "1/0"] {
            assert!(text.parse::<Shard>().is_err(), "{text}");
        }
    }
}
