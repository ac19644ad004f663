//! How much is asked for.

/// Clients that ask at the same time.
pub const CLIENTS: usize = 16;
/// Repetitions of what takes long: lists of everything.
pub const LISTS: usize = 5;

/// Numbers of objects and requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sizes {
    /// Requests of one kind, one after the other.
    pub sequential: usize,
    /// Requests of one kind, by [`CLIENTS`] at once.
    pub concurrent: usize,
    /// Watches of one resource, each over a connection of its own.
    pub watches: usize,
    /// Changes that all of them see, one after the other.
    pub changes: usize,
    /// Nodes.
    pub nodes: usize,
    /// Pods.
    pub pods: usize,
    /// Pods in a page of a list.
    pub page: usize,
}

impl Sizes {
    /// This share of the whole, and enough of each to be measured at all.
    pub fn scaled(share: f64) -> Self {
        let scaled = |whole: usize, least: usize| ((whole as f64 * share).round() as usize).max(least);
        Self {
            sequential: scaled(1000, 20),
            concurrent: scaled(4000, 2 * CLIENTS),
            watches: scaled(1000, 10),
            changes: scaled(100, 5),
            nodes: scaled(1000, 10),
            pods: scaled(20_000, 50),
            page: scaled(500, 10),
        }
    }
}

/// A number as people write it: `20,000`.
pub fn grouped(number: usize) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_whole_is_what_the_goals_are_about() {
        let whole = Sizes::scaled(1.0);
        assert_eq!((whole.watches, whole.nodes, whole.pods), (1000, 1000, 20_000));
        let small = Sizes::scaled(0.001);
        assert_eq!((small.watches, small.pods, small.page), (10, 50, 10));
    }

    #[test]
    fn thousands_are_told_apart() {
        assert_eq!([5, 999, 1000, 20_000].map(grouped), ["5", "999", "1,000", "20,000"]);
    }
}
