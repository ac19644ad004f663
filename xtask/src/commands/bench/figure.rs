//! What a measurement finds, and how it is shown.

use serde::Serialize;

use crate::printer;

/// One measured figure.
#[derive(Debug, Clone, Serialize)]
pub struct Figure {
    /// What was measured.
    pub what: String,
    /// The unit of all values.
    pub unit: &'static str,
    /// Middle value.
    pub median: f64,
    /// Smallest value.
    pub least: f64,
    /// Largest value.
    pub most: f64,
    /// How often it was measured.
    pub times: usize,
    /// What the project aims at, if anything.
    pub goal: Option<&'static str>,
    /// The same of the real program, measured in the same way.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub real: Option<Beside>,
}

/// What the real program needed for the same.
#[derive(Debug, Clone, Serialize)]
pub struct Beside {
    /// Middle value.
    pub median: f64,
    /// Smallest value.
    pub least: f64,
    /// Largest value.
    pub most: f64,
    /// How many times better ours is; below 1 the real one is better. None where ours is too small to be divided by.
    pub ratio: Option<f64>,
    /// Whether the goal is reached, where there is one.
    pub met: Option<bool>,
}

/// Which values are good ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Better {
    /// Small ones: times, sizes.
    Less,
    /// Large ones: rates.
    More,
}

/// A goal that is a ratio to the real program.
#[derive(Debug, Clone, Copy)]
pub struct Ratio {
    /// For people.
    pub text: &'static str,
    /// How many times better ours is to be.
    pub times: f64,
}

impl Figure {
    /// From the values of all repetitions; there is at least one.
    pub fn new(
        what: impl Into<String>,
        unit: &'static str,
        mut values: Vec<f64>,
        goal: Option<&'static str>,
    ) -> Self {
        values.sort_by(f64::total_cmp);
        let at = |index: usize| values.get(index).copied().unwrap_or(f64::NAN);
        Self {
            what: what.into(),
            unit,
            median: at(values.len() / 2),
            least: at(0),
            most: at(values.len().saturating_sub(1)),
            times: values.len(),
            goal,
            real: None,
        }
    }

    /// With the real program's figure beside it.
    pub fn beside(self, real: &Self, better: Better, goal: Option<Ratio>) -> Self {
        let (small, large) = match better {
            Better::Less => (self.median, real.median),
            Better::More => (real.median, self.median),
        };
        let ratio = (small > 0.0).then(|| large / small);
        // Nothing at all is less than any share of something.
        let met = goal.map(|goal| ratio.is_none_or(|ratio| ratio >= goal.times));
        let beside = Beside { median: real.median, least: real.least, most: real.most, ratio, met };
        Self { goal: goal.map(|goal| goal.text), real: Some(beside), ..self }
    }
}

/// Prints it as one line.
pub fn print(figure: &Figure) {
    printer::data(&line(figure));
}

fn line(figure: &Figure) -> String {
    let Figure { what, unit, median, least, most, times, goal, real } = figure;
    let spread =
        if *times > 1 { format!("  ({least:.1} to {most:.1}, {times} times)") } else { String::new() };
    let real = real.as_ref();
    let beside = real.map(|real| match real.ratio {
        Some(ratio) => format!("  real: {:.1} {unit}, ratio {ratio:.1}", real.median),
        None => format!("  real: {:.1} {unit}", real.median),
    });
    let verdict = match real.and_then(|real| real.met) {
        Some(true) => ": met",
        Some(false) => ": missed",
        None => "",
    };
    let goal = goal.map(|goal| format!("  goal: {goal}{verdict}")).unwrap_or_default();
    format!("{what:<52} {median:>9.1} {unit}{spread}{}{goal}", beside.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIFTH: Ratio = Ratio { text: "a fifth", times: 5.0 };

    fn beside(ours: f64, real: f64, better: Better) -> Figure {
        let figure = |value| Figure::new("get", "ms", vec![value], None);
        figure(ours).beside(&figure(real), better, Some(FIFTH))
    }

    #[test]
    fn a_goal_beside_the_real_one_is_met_or_missed() {
        let end = |figure: &Figure| line(figure).split_once(" 1.0 ms  ").unwrap().1.to_owned();
        let met = beside(1.0, 5.0, Better::Less);
        assert_eq!(end(&met), "real: 5.0 ms, ratio 5.0  goal: a fifth: met");
        let missed = beside(1.0, 4.0, Better::Less);
        assert_eq!(end(&missed), "real: 4.0 ms, ratio 4.0  goal: a fifth: missed");
        assert_eq!(beside(10.0, 5.0, Better::More).real.unwrap().ratio, Some(2.0));
        assert_eq!(beside(0.0, 5.0, Better::Less).real.unwrap().met, Some(true));
    }

    #[test]
    fn without_the_real_one_nothing_is_said_of_it() {
        let figure = Figure::new("get", "ms", vec![3.0, 1.0, 2.0], None);
        assert!(line(&figure).ends_with("      2.0 ms  (1.0 to 3.0, 3 times)"), "{}", line(&figure));
    }
}
