//! A shorter schedule that breaks a rule which the longer one breaks.

use super::{family, replay};
use crate::checkers::{Violation, check, still_broken};
use crate::history::History;
use crate::scenario::{Options, Scenario};
use crate::sim::choice::{Choice, Fault};
use crate::turns::{Turn, turns};

/// What needs more steps than this is shrunk once more.
pub const READABLE: usize = 6;

/// Shrinks the number of agents, the faults, the schedule and the number of its turns, as long as one of the rules is
/// broken that were broken before. Which one is not fixed: what is wrong in one way often breaks several rules, and some
/// need fewer steps. Where that leaves more than [`READABLE`] steps, any rule will do.
pub fn minimise(
    scenario: &Scenario,
    options: &Options,
    schedule: &[Choice],
    broken: &[Violation],
) -> (Options, Vec<Choice>) {
    let small = shrink(scenario, options, schedule, |history| still_broken(history, broken));
    if turns(&small.1).len() <= READABLE {
        return small;
    }
    shrink(scenario, &small.0, &small.1, |history| !check(history).is_empty())
}

fn shrink(
    scenario: &Scenario,
    options: &Options,
    schedule: &[Choice],
    breaks: impl Fn(&History) -> bool,
) -> (Options, Vec<Choice>) {
    let mut shrinking = Shrinking::new(scenario, options, schedule);
    while let Some((options, schedule)) = shrinking.candidate() {
        let history = replay(scenario.start(options), schedule);
        shrinking.tried(breaks(&history));
    }
    shrinking.done()
}

/// The search for a smaller run, one candidate after another; whoever asks plays them.
#[derive(Debug, Clone)]
pub struct Shrinking {
    fewest: u16,
    options: Options,
    best: Vec<Choice>,
    /// Agents, steps and turns when this round began.
    before: (u16, usize, usize),
    stage: Stage,
    candidate: Option<(Options, Vec<Choice>)>,
}

#[derive(Debug, Clone, Copy)]
enum Stage {
    /// Takes away ever smaller pieces.
    Pieces {
        piece: usize,
        at: usize,
        gained: bool,
    },
    /// Takes away all that one actor does, and whatever comes after a moment.
    Actors {
        end: usize,
        actor: usize,
    },
    /// Takes away an agent.
    Agents(u16),
    /// Puts a turn of an actor to its next one, or to the one before.
    Turns {
        turn: usize,
        later: bool,
    },
    /// Allows no more faults than there are.
    Faults,
    Done,
}

impl Stage {
    fn first(schedule: &[Choice]) -> Self {
        Self::Pieces { piece: schedule.len().max(1), at: 0, gained: false }
    }

    /// After a turn that could not be put there.
    fn after(turn: usize, later: bool) -> Self {
        if later { Self::Turns { turn, later: false } } else { Self::Turns { turn: turn + 1, later: true } }
    }
}

fn size(options: &Options, schedule: &[Choice]) -> (u16, usize, usize) {
    (options.agents, schedule.len(), turns(schedule).len())
}

/// The schedule in which this turn comes right before the next one of the same step, or right after the last one; none
/// when there is no other.
fn joined(schedule: &[Choice], turn: usize, later: bool) -> Option<Vec<Choice>> {
    let mut turns = turns(schedule);
    let moved = turns.remove(turn);
    let same = |other: &Turn| other.choice == moved.choice;
    let to = if later {
        turn + turns[turn..].iter().position(same)?
    } else {
        turns[..turn].iter().rposition(same)? + 1
    };
    turns.insert(to, moved);
    Some(turns.iter().flat_map(|turn| std::iter::repeat_n(turn.choice, turn.times)).collect())
}

impl Shrinking {
    /// From a run that breaks a rule.
    pub fn new(scenario: &Scenario, options: &Options, schedule: &[Choice]) -> Self {
        Self {
            fewest: scenario.fewest,
            options: options.clone(),
            best: schedule.to_vec(),
            before: size(options, schedule),
            stage: Stage::first(schedule),
            candidate: None,
        }
    }

    /// What to play next; none when nothing smaller is left to try.
    pub fn candidate(&mut self) -> Option<&(Options, Vec<Choice>)> {
        self.candidate = loop {
            match self.stage {
                Stage::Pieces { piece, at, .. } if at < self.best.len() => {
                    let mut shorter = self.best[..at].to_vec();
                    shorter.extend_from_slice(&self.best[(at + piece).min(self.best.len())..]);
                    break Some((self.options.clone(), shorter));
                }
                Stage::Pieces { piece: 1, gained: false, .. } => {
                    self.stage = Stage::Actors { end: self.best.len(), actor: 0 };
                }
                Stage::Pieces { piece, .. } => {
                    self.stage = Stage::Pieces { piece: (piece / 2).max(1), at: 0, gained: false };
                }
                Stage::Actors { end: 0, .. } => self.stage = Stage::Agents(0),
                Stage::Actors { end, actor } => match actors(&self.best[..end]).get(actor) {
                    Some(gone) => {
                        let left = self.best[..end].iter().filter(|choice| self::actor(**choice) != *gone);
                        break Some((self.options.clone(), left.copied().collect()));
                    }
                    None => self.stage = Stage::Actors { end: end - 1, actor: 0 },
                },
                Stage::Agents(agent) if agent < self.options.agents && self.options.agents > self.fewest => {
                    let fewer = Options { agents: self.options.agents - 1, ..self.options.clone() };
                    let left = self.best.iter().filter_map(|choice| without(*choice, agent)).collect();
                    break Some((fewer, left));
                }
                Stage::Agents(_) => self.stage = Stage::Turns { turn: 0, later: true },
                Stage::Turns { turn, .. } if turn >= turns(&self.best).len() => self.stage = Stage::Faults,
                Stage::Turns { turn, later } => match joined(&self.best, turn, later) {
                    Some(joined) => break Some((self.options.clone(), joined)),
                    None => self.stage = Stage::after(turn, later),
                },
                Stage::Faults => {
                    let faults = self.best.iter().filter(|choice| choice.is_fault()).count();
                    let faults = u16::try_from(faults).unwrap_or(self.options.faults);
                    break Some((Options { faults, ..self.options.clone() }, self.best.clone()));
                }
                Stage::Done => break None,
            }
        };
        self.candidate.as_ref()
    }

    /// Whether the candidate still breaks one of the rules.
    pub fn tried(&mut self, breaks: bool) {
        let Some((options, schedule)) = self.candidate.take() else { return };
        match &mut self.stage {
            Stage::Pieces { gained, .. } if breaks => *gained = true,
            Stage::Pieces { piece, at, .. } => *at += *piece,
            Stage::Actors { actor, .. } if !breaks => *actor += 1,
            Stage::Actors { end, actor } => (*end, *actor) = (schedule.len(), 0),
            Stage::Agents(agent) if !breaks => *agent += 1,
            Stage::Turns { .. } if breaks => self.stage = Stage::Turns { turn: 0, later: true },
            Stage::Turns { turn, later } => self.stage = Stage::after(*turn, *later),
            Stage::Agents(_) | Stage::Faults | Stage::Done => {}
        }
        if breaks {
            (self.options, self.best) = (options, schedule);
        }
        if matches!(self.stage, Stage::Faults) {
            let now = size(&self.options, &self.best);
            self.stage = if now == self.before { Stage::Done } else { Stage::first(&self.best) };
            self.before = now;
        }
    }

    /// The smallest run that does.
    pub fn done(self) -> (Options, Vec<Choice>) {
        (self.options, self.best)
    }
}

/// Who takes a step; whatever breaks at somebody's is theirs.
fn actor(choice: Choice) -> (u8, u16) {
    match choice {
        Choice::Fault(
            Fault::KillAgent(agent)
            | Fault::Reset(agent, _)
            | Fault::LoseReply(agent)
            | Fault::Duplicate(agent)
            | Fault::Impatience(agent, _),
        ) => family(Choice::Agent(agent)),
        Choice::Fault(Fault::KillBroker(broker)) => family(Choice::Broker(broker)),
        choice => family(choice),
    }
}

/// All who take steps.
fn actors(schedule: &[Choice]) -> Vec<(u8, u16)> {
    let mut actors: Vec<_> = schedule.iter().map(|choice| actor(*choice)).collect();
    actors.sort_unstable();
    actors.dedup();
    actors
}

/// The step in a world in which this agent never was; none when it was its own.
fn without(choice: Choice, gone: u16) -> Option<Choice> {
    let fewer = |agent: u16| (agent != gone).then(|| agent - u16::from(agent > gone));
    Some(match choice {
        Choice::Agent(agent) => Choice::Agent(fewer(agent)?),
        Choice::Server(agent, request) => Choice::Server(fewer(agent)?, request),
        Choice::Watcher(agent) => Choice::Watcher(fewer(agent)?),
        Choice::Fault(fault) => Choice::Fault(match fault {
            Fault::KillAgent(agent) => Fault::KillAgent(fewer(agent)?),
            Fault::Reset(agent, request) => Fault::Reset(fewer(agent)?, request),
            Fault::LoseReply(agent) => Fault::LoseReply(fewer(agent)?),
            Fault::Duplicate(agent) => Fault::Duplicate(fewer(agent)?),
            Fault::Impatience(agent, request) => Fault::Impatience(fewer(agent)?, request),
            other => other,
        }),
        other => other,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::turns::{steps, texts};

    #[test]
    fn a_turn_joins_the_next_or_the_last_of_the_same_step_and_no_other() {
        let schedule = steps(["broker 0 x2", "jump", "broker 1", "broker 0"]).unwrap();
        let joined = |turn, later| joined(&schedule, turn, later).map(|schedule| texts(&schedule).join(", "));
        assert_eq!(joined(0, true).as_deref(), Some("jump, broker 1, broker 0 x3"));
        assert_eq!(joined(3, false).as_deref(), Some("broker 0 x3, jump, broker 1"));
        assert_eq!(
            [joined(0, false), joined(1, true), joined(2, false), joined(3, true)],
            [const { None }; 4]
        );
    }
}
