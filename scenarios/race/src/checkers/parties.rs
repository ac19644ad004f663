//! Two parties: requests, decisions, and what they allow.

use plexlab_rules::assignment::{AssignmentState, Decision};

use super::{Findings, calls};
use crate::history::{Call, Change, Event, History, Reply};

pub(super) fn two_parties(history: &History, findings: &mut Findings) {
    for (at, entry) in history.entries.iter().enumerate() {
        let Event::Changed(changes) = &entry.event else { continue };
        for change in changes {
            if let Change::Assignment { assignment, state: AssignmentState::Approved, by } = *change
                && history.ground.assignments.get(assignment as usize) == Some(&by)
            {
                findings.add(at, format!("party {by} approves its own request {assignment}"));
            }
        }
    }
}

pub(super) fn decided_once(history: &History, findings: &mut Findings) {
    let mut states = vec![AssignmentState::Requested; history.ground.assignments.len()];
    let mut decisions: Vec<Vec<(Decision, u16)>> = vec![Vec::new(); states.len()];
    let calls = calls(history);
    for (at, entry) in history.entries.iter().enumerate() {
        match &entry.event {
            Event::Changed(changes) => {
                for change in changes {
                    let Change::Assignment { assignment, state, by } = *change else { continue };
                    let Some(before) = states.get_mut(assignment as usize) else { continue };
                    let made = Decision::ALL.into_iter().find(|made| before.after(*made) == Some(state));
                    match made {
                        Some(made) => decisions[assignment as usize].push((made, by)),
                        None => findings
                            .add(at, format!("assignment {assignment} goes from {before:?} to {state:?}")),
                    }
                    *before = state;
                }
            }
            Event::Return { op, reply: Reply::Done } => {
                let Some(Some(done)) = calls.get(*op as usize) else { continue };
                let Call::Decide { assignment, decision } = done.call else { continue };
                let Some(made) = decisions.get_mut(assignment as usize) else { continue };
                match made.iter().position(|made| *made == (decision, done.by)) {
                    Some(place) => {
                        made.swap_remove(place);
                    }
                    None => findings.add(at, format!("call {op} is told that it decided, and it did not")),
                }
            }
            _ => {}
        }
    }
}

pub(super) fn approved_first(history: &History, findings: &mut Findings) {
    let mut state = vec![AssignmentState::Requested; history.ground.assignments.len()];
    // The last entry at which each was in force.
    let mut last: Vec<Option<usize>> = vec![None; state.len()];
    let calls = calls(history);
    for (at, entry) in history.entries.iter().enumerate() {
        match &entry.event {
            Event::Changed(changes) => {
                for change in changes {
                    let Change::Assignment { assignment, state: after, .. } = *change else { continue };
                    let Some(before) = state.get_mut(assignment as usize) else { continue };
                    if *before == AssignmentState::Approved {
                        last[assignment as usize] = Some(at);
                    }
                    *before = after;
                }
            }
            Event::Return { op, reply: Reply::Done } => {
                let Some(Some(done)) = calls.get(*op as usize) else { continue };
                let Call::Provision { assignment } = done.call else { continue };
                let Some(now) = state.get(assignment as usize) else { continue };
                let was = last[assignment as usize].is_some_and(|until| until > done.invoked);
                if *now != AssignmentState::Approved && !was {
                    findings.add(at, format!("call {op} provisions with assignment {assignment}, {now:?}"));
                }
            }
            _ => {}
        }
    }
}
