//! Two parties: one asked for a credential, others decide, and somebody provisions with it.

use std::rc::Rc;

use plexlab_rules::assignment::{AssignmentState, Decision, Outcome, Policy};

use super::Model;
use super::choice::Choice;
use super::defects::Defect;
use super::footprint::{Footprint, Thing};
use crate::history::{Call, Change, Entry, Event, Ground, History, Op, Reply};

/// The one request.
const ASSIGNMENT: u32 = 0;

/// What is to be run.
#[derive(Debug, Clone)]
pub struct Setup {
    /// Who asks for what; party 0 is the requester.
    pub people: Vec<(u16, Call)>,
    /// What is wrong.
    pub defect: Option<Defect>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Idle,
    Asked(Op),
    /// The control plane has looked at the row.
    Looked(Op, AssignmentState),
    Answered(Op, Reply),
    Done,
}

/// The whole.
#[derive(Debug, Clone)]
pub struct Approval {
    setup: Rc<Setup>,
    state: AssignmentState,
    /// Who holds the row's lock.
    holder: Option<u16>,
    people: Vec<Stage>,
    ops: Op,
    history: History,
}

impl Approval {
    /// What it was made of.
    pub fn setup(&self) -> &Setup {
        &self.setup
    }

    /// Before anything is decided.
    pub fn new(setup: Setup) -> Self {
        Self {
            state: AssignmentState::Requested,
            holder: None,
            people: vec![Stage::Idle; setup.people.len()],
            ops: 0,
            history: History {
                ground: Ground { assignments: vec![0], ..Ground::default() },
                ..History::default()
            },
            setup: Rc::new(setup),
        }
    }

    /// What is there before.
    pub fn ground(&self) -> &Ground {
        &self.history.ground
    }

    fn add(&mut self, event: Event) {
        self.history.entries.push(Entry { at: 0, event });
    }

    fn policy(&self) -> Policy {
        let defect = match self.setup.defect {
            Some(Defect::Assignment(defect)) => Some(defect),
            _ => None,
        };
        Policy { defect }
    }

    fn locks(&self, call: Call) -> bool {
        matches!(call, Call::Decide { .. }) && self.policy().locks()
    }

    fn decide(&mut self, by: u16, state: AssignmentState, decision: Decision) -> Reply {
        match self.policy().decide(state, decision, by == 0) {
            Outcome::SelfApproval => Reply::Denied,
            Outcome::TooLate => Reply::Terminal,
            Outcome::Pretended => Reply::Done,
            Outcome::Becomes(after) => {
                self.state = after;
                self.add(Event::Changed(vec![Change::Assignment {
                    assignment: ASSIGNMENT,
                    state: after,
                    by,
                }]));
                Reply::Done
            }
        }
    }

    fn provision(&self, state: AssignmentState) -> Reply {
        if self.policy().allows(state) { Reply::Done } else { Reply::Denied }
    }

    fn desk(&mut self, number: u16, touched: &mut Footprint) {
        let (by, call) = self.setup.people[usize::from(number)];
        touched.write(Thing::Row(0));
        let stage = match self.people[usize::from(number)] {
            Stage::Asked(op) => {
                if self.locks(call) {
                    self.holder = Some(number);
                }
                Stage::Looked(op, self.state)
            }
            Stage::Looked(op, state) => {
                let reply = match call {
                    Call::Decide { decision, .. } => self.decide(by, state, decision),
                    _ => self.provision(state),
                };
                if self.holder == Some(number) {
                    self.holder = None;
                }
                Stage::Answered(op, reply)
            }
            stage => stage,
        };
        self.people[usize::from(number)] = stage;
    }

    fn person(&mut self, number: u16, touched: &mut Footprint) {
        let (by, call) = self.setup.people[usize::from(number)];
        let stage = match self.people[usize::from(number)] {
            Stage::Idle => {
                touched.read_answers();
                let op = self.ops;
                self.ops += 1;
                self.add(Event::Invoke { op, by, call });
                Stage::Asked(op)
            }
            Stage::Answered(op, reply) => {
                touched.write(Thing::Answer(number));
                self.add(Event::Return { op, reply });
                Stage::Done
            }
            stage => stage,
        };
        self.people[usize::from(number)] = stage;
    }
}

impl Model for Approval {
    fn choices(&self, into: &mut Vec<Choice>) {
        into.clear();
        for (number, stage) in (0_u16..).zip(&self.people) {
            let (_, call) = self.setup.people[usize::from(number)];
            match stage {
                Stage::Idle | Stage::Answered(..) => into.push(Choice::Person(number)),
                Stage::Asked(_) if self.locks(call) && self.holder.is_some() => {}
                Stage::Asked(_) | Stage::Looked(..) => into.push(Choice::Desk(number)),
                Stage::Done => {}
            }
        }
    }

    fn step(&mut self, choice: Choice) -> Footprint {
        let mut touched = Footprint::default();
        match choice {
            Choice::Person(number) => self.person(number, &mut touched),
            Choice::Desk(number) => self.desk(number, &mut touched),
            _ => {}
        }
        touched
    }

    fn history(&self) -> &History {
        &self.history
    }

    fn into_history(mut self) -> History {
        self.history.settled = true;
        self.history
    }
}
