//! A history for people: who did what, in lanes, in the order in which it happened.

mod page;

pub use page::page;

use std::collections::BTreeMap;

use crate::capsule::Capsule;
use crate::history::{Call, Change, Entry, Event, Reply, Substrate};

/// One line of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// Its place in the order.
    pub number: usize,
    /// Who: `agent 0`, `control plane`, `fault`.
    pub lane: String,
    /// What.
    pub what: String,
    /// Seconds that the control plane's clock has jumped.
    pub clock: i64,
    /// The rules that were broken here.
    pub broken: Vec<String>,
}

/// All lines of a capsule's run.
pub fn lines(capsule: &Capsule) -> Vec<Line> {
    let mut callers: BTreeMap<u32, (String, Call)> = BTreeMap::new();
    capsule
        .timeline
        .iter()
        .enumerate()
        .map(|(number, entry)| {
            let (lane, what) = told(entry, &mut callers);
            let broken = capsule
                .violations
                .iter()
                .filter(|violation| violation.at == number)
                .map(|violation| format!("{}: {}", violation.rule, violation.what))
                .collect();
            Line { number, lane, what, clock: entry.at / 1_000_000, broken }
        })
        .collect()
}

fn told(entry: &Entry, callers: &mut BTreeMap<u32, (String, Call)>) -> (String, String) {
    match &entry.event {
        Event::Invoke { op, by, call } => {
            let who = match call {
                Call::Redeem { .. } => format!("agent {by}"),
                _ => format!("person {by}"),
            };
            callers.insert(*op, (who.clone(), *call));
            (who, format!("#{op} {}", asks(*call)))
        }
        Event::Return { op, reply } => (caller(callers, *op), format!("#{op} {}", answered(*reply))),
        Event::Lost { op } => (caller(callers, *op), format!("#{op} no answer: the connection is gone")),
        Event::Changed(changes) => {
            let changes: Vec<String> = changes.iter().map(changed).collect();
            ("control plane".to_owned(), format!("commits: {}", changes.join("; ")))
        }
        Event::Cluster { resource, what } => {
            let what = match what {
                Substrate::Made => "is made",
                Substrate::Deleted => "is deleted",
                Substrate::Swept => "is removed, nobody owns it",
            };
            ("cluster".to_owned(), format!("the substrate of Resource {resource} {what}"))
        }
        Event::Saw { watcher, resource, phase } => {
            (format!("watcher {watcher}"), format!("sees Resource {resource} {}", phase.as_str()))
        }
        Event::Fault(what) => ("fault".to_owned(), what.clone()),
    }
}

fn caller(callers: &BTreeMap<u32, (String, Call)>, op: u32) -> String {
    callers.get(&op).map_or_else(|| "somebody".to_owned(), |(who, _)| who.clone())
}

fn asks(call: Call) -> String {
    match call {
        Call::Redeem { token, nonce } => format!("registers with token {token}, nonce {nonce}"),
        Call::Revoke { token } => format!("revokes token {token}"),
        Call::Read { token } => format!("reads token {token}"),
        Call::Decide { assignment, decision } => {
            format!("decides on request {assignment}: {}", decision.as_str())
        }
        Call::Provision { assignment } => format!("provisions with assignment {assignment}"),
        Call::Delete { resource } => format!("deletes Resource {resource}"),
    }
}

fn answered(reply: Reply) -> String {
    match reply {
        Reply::Won { node, address } => format!("201: it is Node {node}, {address}"),
        Reply::Refused(refused) => {
            let code = serde_json::to_value(refused).unwrap_or_default();
            format!("refused: {}", code.as_str().unwrap_or_default())
        }
        Reply::Unavailable => "503: try again".to_owned(),
        Reply::Internal => "500".to_owned(),
        Reply::Done => "done".to_owned(),
        Reply::Terminal => "409: too late".to_owned(),
        Reply::Denied => "403: denied".to_owned(),
        Reply::State { consumed, revoked } => format!("consumed: {consumed}, revoked: {revoked}"),
    }
}

fn changed(change: &Change) -> String {
    match change {
        Change::Node { node, address, .. } => format!("Node {node} with {address}"),
        Change::NodeGone { node } => format!("Node {node} leaves the mesh"),
        Change::Anchored { node } => format!("Node {node} is a peer"),
        Change::Consumed { token, node, .. } => format!("token {token} consumed by Node {node}"),
        Change::Revoked { token } => format!("token {token} revoked"),
        Change::Minted { token, .. } => format!("token {token} minted"),
        Change::Phase { from, to, .. } => format!("{} to {}", from.as_str(), to.as_str()),
        Change::Assignment { state, by, .. } => format!("{} by party {by}", state.as_str()),
    }
}

/// For a terminal.
pub fn text(capsule: &Capsule) -> String {
    let lines = lines(capsule);
    let width = lines.iter().map(|line| line.lane.len()).max().unwrap_or(0);
    let mut text = String::new();
    for line in lines {
        text.push_str(&format!("{:>5}  {:width$}  {}\n", line.number, line.lane, line.what));
        for broken in line.broken {
            text.push_str(&format!("{:>5}  {:width$}  ✗ {broken}\n", "", ""));
        }
    }
    // What strangers wrote moves no cursor.
    text.chars().filter(|c| *c == '\n' || !c.is_control()).collect()
}
