//! The search for an order that breaks a rule: at random, by priorities (PCT), or every order once.

mod exhaustive;
mod minimise;

pub use exhaustive::{Exhausted, exhaust};
pub use minimise::{READABLE, Shrinking, minimise};

use serde::{Deserialize, Serialize};

use crate::checkers::{self, Violation};
use crate::history::History;
use crate::scenario::{Options, Scenario, World};
use crate::sim::Model;
use crate::sim::choice::Choice;
use crate::sim::random::Random;

/// Steps after which a run is cut off: far more than any that ends by itself.
const LONGEST: usize = 200_000;
/// One step in so many is a fault, while some are left.
const FAULT_EVERY: usize = 10;
/// Steps among which the changes of priority are spread.
const SPREAD: usize = 60;
/// Changes of priority: races that need more than this many preemptions are rare.
const CHANGES: usize = 4;

/// A run that broke a rule.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// Which schedule it was, from 0.
    pub number: u64,
    /// Its steps.
    pub schedule: Vec<Choice>,
    /// What it broke.
    pub violations: Vec<Violation>,
}

/// How a schedule is drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Policy {
    /// Every step at random.
    Random,
    /// The first of a random order of the actors goes on as long as it can; at a few moments it becomes the last.
    Priorities,
}

/// The random numbers of one schedule.
fn source(seed: u64, number: u64) -> Random {
    let mut mixed = Random::new(seed ^ 0x5851_f42d_4c95_7f2d);
    Random::new(mixed.draw().wrapping_add(number.wrapping_mul(0x2545_f491_4f6c_dd1d)))
}

/// Chooses the steps of one schedule, one after another.
pub struct Chooser {
    random: Random,
    policy: Policy,
    priorities: Priorities,
    step: usize,
}

impl Chooser {
    /// Of this schedule of a seed.
    pub fn new(seed: u64, number: u64) -> Self {
        let policy = if number.is_multiple_of(2) { Policy::Random } else { Policy::Priorities };
        let mut random = source(seed, number);
        let priorities = Priorities::new(&mut random);
        Self { random, policy, priorities, step: 0 }
    }

    /// One of these, faults being the last of them; none when nothing but faults is left.
    pub fn choose(&mut self, choices: &[Choice]) -> Option<Choice> {
        let steps = choices.iter().take_while(|choice| !choice.is_fault()).count();
        if steps == 0 {
            return None;
        }
        let faults = choices.len() - steps;
        let choice = if faults > 0 && self.random.one_in(FAULT_EVERY) {
            choices[steps + self.random.below(faults)]
        } else {
            match self.policy {
                Policy::Random => choices[self.random.below(steps)],
                Policy::Priorities => self.priorities.choose(&choices[..steps], self.step, &mut self.random),
            }
        };
        self.step += 1;
        Some(choice)
    }
}

impl std::fmt::Debug for Chooser {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Chooser")
            .field("policy", &self.policy)
            .field("step", &self.step)
            .finish_non_exhaustive()
    }
}

/// Runs one schedule of a seed; returns its steps and its history.
pub fn play(mut world: World, seed: u64, number: u64) -> (Vec<Choice>, History) {
    let mut chooser = Chooser::new(seed, number);
    let mut schedule = Vec::new();
    let mut choices = Vec::new();
    while schedule.len() < LONGEST {
        world.choices(&mut choices);
        let Some(choice) = chooser.choose(&choices) else { break };
        schedule.push(choice);
        world.step(choice);
    }
    let cut = schedule.len() == LONGEST;
    let mut history = world.into_history();
    history.settled &= !cut;
    (schedule, history)
}

/// The order of the actors, and when it changes.
struct Priorities {
    order: Vec<(Choice, u64)>,
    changes: [usize; CHANGES],
    lowest: u64,
}

impl Priorities {
    fn new(random: &mut Random) -> Self {
        let mut changes = [0; CHANGES];
        for change in &mut changes {
            *change = random.below(SPREAD);
        }
        Self { order: Vec::new(), changes, lowest: u64::from(u32::MAX) }
    }

    fn place(&mut self, choice: Choice, random: &mut Random) -> usize {
        match self.order.binary_search_by(|(known, _)| known.cmp(&choice)) {
            Ok(place) => place,
            Err(place) => {
                let priority = random.draw() | 1 << 32;
                self.order.insert(place, (choice, priority));
                place
            }
        }
    }

    fn choose(&mut self, choices: &[Choice], step: usize, random: &mut Random) -> Choice {
        let mut best = choices[0];
        let mut highest = 0;
        for choice in choices {
            let place = self.place(*choice, random);
            if self.order[place].1 >= highest {
                (best, highest) = (*choice, self.order[place].1);
            }
        }
        if self.changes.contains(&step) {
            let place = self.place(best, random);
            self.lowest -= 1;
            self.order[place].1 = self.lowest;
        }
        best
    }
}

/// Who a step belongs to: an actor and the control plane's work for it.
fn family(choice: Choice) -> (u8, u16) {
    match choice {
        Choice::Agent(number) | Choice::Server(number, _) => (0, number),
        Choice::Person(number) | Choice::Desk(number) => (1, number),
        Choice::Broker(number) => (2, number),
        Choice::Watcher(number) => (3, number),
        Choice::Watch | Choice::Substrate | Choice::Job | Choice::Outbox => (4, 0),
        Choice::Fault(_) => (5, 0),
    }
}

/// What comes next when everybody is to finish, one after another, whoever was at it first.
pub fn finishing(choices: &[Choice], last: Option<Choice>) -> Option<Choice> {
    let mut steps = choices.iter().filter(|choice| !choice.is_fault()).copied();
    let same = |choice: &Choice| last.is_some_and(|last| family(last) == family(*choice));
    steps.clone().find(same).or_else(|| steps.next())
}

/// Plays a schedule: what cannot happen is left out, and in the end everybody finishes, one after another, whoever was
/// at it first.
pub fn replay(mut world: World, schedule: &[Choice]) -> History {
    let mut choices = Vec::new();
    let mut last = None;
    let mut steps = 0;
    for choice in schedule {
        world.choices(&mut choices);
        if choices.contains(choice) {
            world.step(*choice);
            last = Some(*choice);
            steps += 1;
        }
    }
    while steps < LONGEST {
        world.choices(&mut choices);
        let Some(choice) = finishing(&choices, last) else { break };
        world.step(choice);
        last = Some(choice);
        steps += 1;
    }
    let mut history = world.into_history();
    history.settled &= steps < LONGEST;
    history
}

/// Plays so many schedules; the first that breaks a rule ends the search.
pub fn search(scenario: &Scenario, options: &Options, seed: u64, schedules: u64) -> Option<Failure> {
    (0..schedules).find_map(|number| {
        let (schedule, history) = play(scenario.start(options), seed, number);
        let violations = checkers::check(&history);
        (!violations.is_empty()).then_some(Failure { number, schedule, violations })
    })
}
