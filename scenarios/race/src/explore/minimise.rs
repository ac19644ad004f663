//! A shorter schedule that breaks the same rule.

use super::replay;
use crate::checkers;
use crate::scenario::{Options, Scenario};
use crate::sim::choice::{Choice, Fault};

/// Shrinks the number of agents, the faults and the schedule, as long as the same rule is broken.
pub fn minimise(
    scenario: &Scenario,
    options: &Options,
    schedule: &[Choice],
    rule: &str,
) -> (Options, Vec<Choice>) {
    let breaks = |options: &Options, schedule: &[Choice]| {
        let history = replay(scenario.start(options), schedule);
        checkers::check(&history).iter().any(|violation| violation.rule == rule)
    };
    let mut options = options.clone();
    let mut best = schedule.to_vec();
    loop {
        let before = (options.agents, best.len());
        shorten(&mut best, &|schedule| breaks(&options, schedule));
        let mut agent = 0;
        while agent < options.agents && options.agents > scenario.fewest {
            let fewer = Options { agents: options.agents - 1, ..options.clone() };
            let without: Vec<Choice> = best.iter().filter_map(|choice| without(*choice, agent)).collect();
            if breaks(&fewer, &without) {
                (options, best) = (fewer, without);
            } else {
                agent += 1;
            }
        }
        let faults = best.iter().filter(|choice| choice.is_fault()).count();
        let exact = Options { faults: u16::try_from(faults).unwrap_or(options.faults), ..options.clone() };
        if breaks(&exact, &best) {
            options = exact;
        }
        if (options.agents, best.len()) == before {
            return (options, best);
        }
    }
}

/// Takes away ever smaller pieces.
fn shorten(schedule: &mut Vec<Choice>, breaks: &dyn Fn(&[Choice]) -> bool) {
    let mut piece = schedule.len().max(1);
    loop {
        let mut at = 0;
        let mut gained = false;
        while at < schedule.len() {
            let mut shorter = schedule[..at].to_vec();
            shorter.extend_from_slice(&schedule[(at + piece).min(schedule.len())..]);
            if breaks(&shorter) {
                *schedule = shorter;
                gained = true;
            } else {
                at += piece;
            }
        }
        if piece == 1 && !gained {
            return;
        }
        piece = (piece / 2).max(1);
    }
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
