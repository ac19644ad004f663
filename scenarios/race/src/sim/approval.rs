//! Two parties: one asked for a credential, others decide, and somebody provisions with it.
//!
//! People ask once: whether something that was lost was done is for them to look up.

use std::rc::Rc;

use plexlab_rules::assignment::{AssignmentState, Decision, Outcome, Policy};

use super::Model;
use super::choice::{Choice, Fault};
use super::defects::Defect;
use super::enrolment::OF_THE_NETWORK;
use super::footprint::{Footprint, Thing};
use crate::history::{Call, Change, Entry, Event, Ground, History, Op, Reply};

/// The one request.
const ASSIGNMENT: u32 = 0;

/// What is to be run.
#[derive(Debug, Clone)]
pub struct Setup {
    /// Who asks for what; party 0 is the requester.
    pub people: Vec<(u16, Call)>,
    /// How many things may break.
    pub faults: u16,
    /// What is wrong.
    pub defect: Option<Defect>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Idle,
    Waits(Op),
    Done,
}

/// What comes back to a person.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Inbox {
    Reply(Reply),
    /// The connection broke.
    Broken,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Person {
    stage: Stage,
    inbox: Option<Inbox>,
}

/// A call that the control plane has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Desk {
    /// Whose it is.
    person: u16,
    /// 0, or [`OF_THE_NETWORK`] if that asked it twice.
    request: u16,
    /// The row as it was when it looked.
    looked: Option<AssignmentState>,
}

/// The whole.
#[derive(Debug, Clone)]
pub struct Approval {
    setup: Rc<Setup>,
    state: AssignmentState,
    /// Who holds the row's lock: the person and the request.
    holder: Option<(u16, u16)>,
    people: Vec<Person>,
    /// By person and request.
    desks: Vec<Desk>,
    disk_full: bool,
    faults: u16,
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
            people: vec![Person { stage: Stage::Idle, inbox: None }; setup.people.len()],
            desks: Vec::new(),
            disk_full: false,
            faults: setup.faults,
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

    fn asked(&self, person: u16) -> (u16, Call) {
        self.setup.people[usize::from(person)]
    }

    fn locks(&self, person: u16) -> bool {
        matches!(self.asked(person).1, Call::Decide { .. }) && self.policy().locks()
    }

    fn invoke(&mut self, person: u16, touched: &mut Footprint) -> Op {
        touched.read_answers();
        let op = self.ops;
        self.ops += 1;
        let (by, call) = self.asked(person);
        self.add(Event::Invoke { op, by, call });
        op
    }

    /// Where the call of this person and request is.
    fn place(&self, key: (u16, u16)) -> Option<usize> {
        self.desks.iter().position(|desk| (desk.person, desk.request) == key)
    }

    fn open(&mut self, person: u16, request: u16) {
        self.desks.push(Desk { person, request, looked: None });
        self.desks.sort_unstable_by_key(|desk| (desk.person, desk.request));
    }

    /// Nobody waits for what the network asked twice.
    fn deliver(&mut self, desk: Desk, what: Inbox) {
        let person = &mut self.people[usize::from(desk.person)];
        if desk.request == 0 && matches!(person.stage, Stage::Waits(_)) {
            person.inbox = Some(what);
        }
    }

    /// Without space a commit fails, and then there is some again.
    fn decide(&mut self, by: u16, state: AssignmentState, decision: Decision) -> Reply {
        match self.policy().decide(state, decision, by == 0) {
            Outcome::SelfApproval => Reply::Denied,
            Outcome::TooLate => Reply::Terminal,
            Outcome::Pretended => Reply::Done,
            Outcome::Becomes(_) if std::mem::take(&mut self.disk_full) => Reply::Unavailable,
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

    fn provision(&mut self, state: AssignmentState) -> Reply {
        match self.policy().allows(state) {
            true if std::mem::take(&mut self.disk_full) => Reply::Unavailable,
            true => Reply::Done,
            false => Reply::Denied,
        }
    }

    fn desk(&mut self, key: (u16, u16), touched: &mut Footprint) {
        let Some(place) = self.place(key) else {
            return;
        };
        let desk = self.desks[place];
        let (by, call) = self.asked(desk.person);
        touched.write(Thing::Row(0));
        let Some(state) = desk.looked else {
            if self.locks(desk.person) {
                self.holder = Some(key);
            }
            self.desks[place].looked = Some(self.state);
            return;
        };
        let reply = match call {
            Call::Decide { decision, .. } => self.decide(by, state, decision),
            _ => self.provision(state),
        };
        self.desks.remove(place);
        self.let_go(key);
        self.deliver(desk, Inbox::Reply(reply));
    }

    fn let_go(&mut self, key: (u16, u16)) {
        self.holder = self.holder.filter(|holder| *holder != key);
    }

    fn person(&mut self, number: u16, touched: &mut Footprint) {
        let person = self.people[usize::from(number)];
        match (person.stage, person.inbox) {
            (Stage::Idle, _) => {
                let op = self.invoke(number, touched);
                self.people[usize::from(number)].stage = Stage::Waits(op);
                self.open(number, 0);
            }
            (Stage::Waits(op), Some(what)) => {
                touched.write(Thing::Answer(number));
                self.add(match what {
                    Inbox::Reply(reply) => Event::Return { op, reply },
                    Inbox::Broken => Event::Lost { op },
                });
                self.people[usize::from(number)] = Person { stage: Stage::Done, inbox: None };
            }
            _ => {}
        }
    }

    fn fault(&mut self, fault: Fault, touched: &mut Footprint) {
        self.faults -= 1;
        self.add(Event::Fault(Choice::Fault(fault).to_string()));
        match fault {
            Fault::KillServer => {
                self.holder = None;
                for desk in std::mem::take(&mut self.desks) {
                    self.deliver(desk, Inbox::Broken);
                }
            }
            Fault::RestartDatabase => {
                self.holder = None;
                // Who had looked had a transaction.
                let (over, rest) =
                    std::mem::take(&mut self.desks).into_iter().partition(|desk| desk.looked.is_some());
                self.desks = rest;
                let over: Vec<Desk> = over;
                for desk in over {
                    self.deliver(desk, Inbox::Reply(Reply::Unavailable));
                }
            }
            Fault::DiskFull => self.disk_full = true,
            Fault::Reset(person, request) => {
                let key = (person, request);
                if let Some(place) = self.place(key) {
                    let desk = self.desks.remove(place);
                    self.let_go(key);
                    self.deliver(desk, Inbox::Broken);
                }
            }
            Fault::LoseReply(number) => {
                let person = &mut self.people[usize::from(number)];
                person.inbox = person.inbox.map(|_| Inbox::Broken);
            }
            Fault::Duplicate(number) => {
                self.invoke(number, touched);
                self.open(number, OF_THE_NETWORK);
            }
            _ => {}
        }
        *touched = Footprint::ALL;
    }

    fn faults(&self, into: &mut Vec<Choice>) {
        let mut fault = |fault| into.push(Choice::Fault(fault));
        if !self.desks.is_empty() {
            fault(Fault::KillServer);
            fault(Fault::RestartDatabase);
            if !self.disk_full {
                fault(Fault::DiskFull);
            }
        }
        for desk in &self.desks {
            fault(Fault::Reset(desk.person, desk.request));
        }
        for (number, person) in (0_u16..).zip(&self.people) {
            match (person.stage, person.inbox) {
                (Stage::Waits(_), Some(Inbox::Reply(_))) => fault(Fault::LoseReply(number)),
                (Stage::Waits(_), None) if self.place((number, OF_THE_NETWORK)).is_none() => {
                    fault(Fault::Duplicate(number));
                }
                _ => {}
            }
        }
    }
}

impl Model for Approval {
    fn choices(&self, into: &mut Vec<Choice>) {
        into.clear();
        for (number, person) in (0_u16..).zip(&self.people) {
            if person.stage == Stage::Idle || person.inbox.is_some() {
                into.push(Choice::Person(number));
            }
            for desk in self.desks.iter().filter(|desk| desk.person == number) {
                let waits = desk.looked.is_none() && self.locks(number) && self.holder.is_some();
                match desk.request {
                    _ if waits => {}
                    0 => into.push(Choice::Desk(number)),
                    request => into.push(Choice::Server(number, request)),
                }
            }
        }
        if self.faults > 0 && !into.is_empty() {
            self.faults(into);
        }
    }

    fn step(&mut self, choice: Choice) -> Footprint {
        let mut touched = Footprint::default();
        match choice {
            Choice::Person(number) => self.person(number, &mut touched),
            Choice::Desk(number) => self.desk((number, 0), &mut touched),
            Choice::Server(number, request) => self.desk((number, request), &mut touched),
            Choice::Fault(fault) => self.fault(fault, &mut touched),
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
