//! Every order once: a depth-first search with sleep sets, which leaves out orders that differ only in steps that do
//! not meet.

use crate::checkers::{self, Violation};
use crate::history::History;
use crate::scenario::World;
use crate::sim::Model;
use crate::sim::choice::Choice;
use crate::sim::footprint::Footprint;

/// What came of it.
#[derive(Debug, Default)]
pub struct Exhausted {
    /// Orders that were played to their end.
    pub orders: u64,
    /// The first that broke a rule.
    pub failure: Option<(Vec<Choice>, Vec<Violation>)>,
    /// Whether there was an end: false when the limit came first.
    pub complete: bool,
}

struct Search<'s> {
    most: u64,
    reduce: bool,
    found: Exhausted,
    path: Vec<Choice>,
    each: &'s mut dyn FnMut(&History),
}

/// Plays every order, `most` at most. With `reduce`, one of each class of orders that cannot be told apart; `each` sees
/// all histories.
pub fn exhaust(world: World, most: u64, reduce: bool, each: &mut dyn FnMut(&History)) -> Exhausted {
    let found = Exhausted { complete: true, ..Exhausted::default() };
    let mut search = Search { most, reduce, found, path: Vec::new(), each };
    search.from(world, Vec::new());
    search.found
}

impl Search<'_> {
    fn from(&mut self, world: World, mut asleep: Vec<(Choice, Footprint)>) {
        if self.found.failure.is_some() {
            return;
        }
        if self.found.orders >= self.most {
            self.found.complete = false;
            return;
        }
        let mut choices = Vec::new();
        world.choices(&mut choices);
        if choices.iter().all(|choice| choice.is_fault()) {
            self.found.orders += 1;
            let history = world.into_history();
            (self.each)(&history);
            let violations = checkers::check(&history);
            if !violations.is_empty() {
                self.found.failure = Some((self.path.clone(), violations));
            }
            return;
        }
        for choice in choices {
            if asleep.iter().any(|(sleeping, _)| *sleeping == choice) {
                continue;
            }
            let mut next = world.clone();
            let touched = next.step(choice);
            // What sleeps stays asleep behind a step that it does not meet.
            let still = asleep.iter().filter(|(_, other)| other.apart(touched)).copied().collect();
            self.path.push(choice);
            self.from(next, still);
            self.path.pop();
            if self.reduce {
                asleep.push((choice, touched));
            }
        }
    }
}
