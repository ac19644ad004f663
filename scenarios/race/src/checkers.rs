//! The rules that every history must keep, each in time proportional to the history's length.

mod addresses;
mod calls;
mod linear;
mod parties;
mod phases;
mod tokens;

use serde::{Deserialize, Serialize};

use crate::history::History;

/// A rule that was broken.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Violation {
    /// Which.
    pub rule: String,
    /// At which entry of the history.
    pub at: usize,
    /// What was expected, and what was seen.
    pub what: String,
}

/// What a rule finds.
#[derive(Debug, Default)]
struct Findings {
    rule: &'static str,
    found: Vec<Violation>,
}

impl Findings {
    fn add(&mut self, at: usize, what: String) {
        self.found.push(Violation { rule: self.rule.to_owned(), at, what });
    }
}

/// A rule.
#[derive(Clone, Copy)]
pub struct Rule {
    /// Its name in reports.
    pub name: &'static str,
    /// What it says.
    pub says: &'static str,
    check: fn(&History, &mut Findings),
}

impl std::fmt::Debug for Rule {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name)
    }
}

/// All rules.
pub const RULES: &[Rule] = &[
    Rule { name: "one-winner", says: "a token is won at most once", check: tokens::one_winner },
    Rule {
        name: "someone-wins",
        says: "a token that could be won, and was asked for, was won in the end",
        check: tokens::someone_wins,
    },
    Rule {
        name: "codes",
        says: "everybody who is refused is told why, rightly, and nobody 503 while nothing is broken",
        check: tokens::codes,
    },
    Rule {
        name: "consumed-with-its-row",
        says: "consumed_at is set once, with the Node and Resource, in one commit",
        check: tokens::consumed_with_its_row,
    },
    Rule {
        name: "in-time",
        says: "no token is consumed at or after its expiry, or revoked and consumed",
        check: tokens::in_time,
    },
    Rule { name: "one-nonce", says: "a nonce consumes one token of a Project", check: tokens::one_nonce },
    Rule {
        name: "one-address",
        says: "no two Nodes of a Domain have one address, and each has one of its range",
        check: addresses::one_address,
    },
    Rule {
        name: "told-what-is",
        says: "who is told that it won has its own Node, committed before",
        check: calls::told_what_is,
    },
    Rule {
        name: "linearizable",
        says: "each token behaves as if its operations came one after another",
        check: linear::linearizable,
    },
    Rule { name: "phases", says: "every phase follows legally, for every watcher", check: phases::legal },
    Rule {
        name: "node-before-substrate",
        says: "a Node leaves the mesh before its substrate goes",
        check: phases::node_before_substrate,
    },
    Rule { name: "ready-is-a-peer", says: "what is Ready has a Node in the mesh", check: phases::ready },
    Rule {
        name: "no-token-outlives",
        says: "no token stays redeemable when its Resource failed or is gone",
        check: phases::no_token_outlives,
    },
    Rule {
        name: "ends",
        says: "in the end every Resource is Ready, Failed or Deleted, and nothing of a deleted one is left",
        check: phases::ends,
    },
    Rule { name: "two-parties", says: "nobody approves the own request", check: parties::two_parties },
    Rule {
        name: "decided-once",
        says: "an assignment's states follow legally, one decision each",
        check: parties::decided_once,
    },
    Rule {
        name: "approved-first",
        says: "nothing is provisioned without an assignment in force",
        check: parties::approved_first,
    },
];

/// Checks all rules.
pub fn check(history: &History) -> Vec<Violation> {
    let mut findings = Findings::default();
    for rule in RULES {
        findings.rule = rule.name;
        (rule.check)(history, &mut findings);
    }
    findings.found
}

/// Whether one of the rules that were broken before is broken in this history.
pub fn still_broken(history: &History, before: &[Violation]) -> bool {
    check(history).iter().any(|now| before.iter().any(|then| then.rule == now.rule))
}

/// The calls of a history with their replies, by number of operation.
#[derive(Debug, Clone, Copy)]
struct Done {
    call: crate::history::Call,
    by: u16,
    invoked: usize,
    /// When, and what; none when no answer came.
    returned: Option<(usize, crate::history::Reply)>,
}

fn calls(history: &History) -> Vec<Option<Done>> {
    use crate::history::Event;
    let mut calls: Vec<Option<Done>> = Vec::new();
    for (at, entry) in history.entries.iter().enumerate() {
        match &entry.event {
            Event::Invoke { op, by, call } => {
                let op = *op as usize;
                if calls.len() <= op {
                    calls.resize(op + 1, None);
                }
                calls[op] = Some(Done { call: *call, by: *by, invoked: at, returned: None });
            }
            Event::Return { op, reply } => {
                if let Some(Some(done)) = calls.get_mut(*op as usize) {
                    done.returned = Some((at, *reply));
                }
            }
            _ => {}
        }
    }
    calls
}
