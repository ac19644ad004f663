//! What happened, for people: who did what, in lanes, in the order in which it happened. A race's capsule has such a
//! story, and so has any other run that somebody tells as one.

mod page;

pub use page::page;

use std::collections::BTreeMap;

use crate::capsule::Capsule;
use crate::history::{Call, Change, Entry, Event, Reply, Substrate};
use crate::turns::texts;

/// What is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Story {
    /// Of what.
    pub title: String,
    /// What there is to know before: names and values.
    pub facts: Vec<(String, String)>,
    /// What the list of what is wrong is called.
    pub wrong: String,
    /// What happened.
    pub lines: Vec<Line>,
    /// The steps that were taken on purpose, if they are more than what happened.
    pub schedule: Vec<String>,
}

/// One line of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// Its place in the order.
    pub number: usize,
    /// Who: `agent 0`, `control plane`, `fault`.
    pub lane: String,
    /// What.
    pub what: String,
    /// When, as people read it; empty where only the order counts.
    pub when: String,
    /// What went wrong here.
    pub broken: Vec<String>,
}

impl From<&Capsule> for Story {
    fn from(capsule: &Capsule) -> Self {
        let fact = |name: &str, value: String| (name.to_owned(), value);
        let mut facts = vec![
            fact("Agents", capsule.options.agents.to_string()),
            fact("Seed", format!("{}, schedule {}", capsule.seed, capsule.number)),
            fact(
                "Planted defect",
                capsule.options.defect.map_or_else(|| "none".to_owned(), crate::mutants::name),
            ),
            fact("Digest", capsule.digest.clone()),
        ];
        if let Some(live) = &capsule.live {
            let versions = live.versions.iter().map(|(name, version)| format!("{name} {version}"));
            facts.push(fact("Real processes", versions.collect::<Vec<_>>().join(", ")));
        }
        Self {
            title: capsule.scenario.clone(),
            facts,
            wrong: "Broken rules".to_owned(),
            lines: lines(capsule),
            schedule: texts(&capsule.schedule),
        }
    }
}

/// All lines of a capsule's run.
fn lines(capsule: &Capsule) -> Vec<Line> {
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
            let when = if capsule.live.is_some() {
                format!("{:.3} s", entry.at as f64 / 1e6)
            } else if entry.at == 0 {
                String::new()
            } else {
                format!("{} s", entry.at / 1_000_000)
            };
            Line { number, lane, what, when, broken }
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
pub fn text(story: &Story) -> String {
    let lines = &story.lines;
    let width = lines.iter().map(|line| line.lane.len()).max().unwrap_or(0);
    let time = lines.iter().map(|line| line.when.len()).max().unwrap_or(0);
    let mut text = String::new();
    for line in lines {
        let when = if time > 0 { format!("  {:>time$}", line.when) } else { String::new() };
        text.push_str(&format!("{:>5}{when}  {:width$}  {}\n", line.number, line.lane, line.what));
        for broken in &line.broken {
            let blank = " ".repeat(when.len());
            text.push_str(&format!("{:>5}{blank}  {:width$}  ✗ {broken}\n", "", ""));
        }
    }
    // What strangers wrote moves no cursor.
    text.chars().filter(|c| *c == '\n' || !c.is_control()).collect()
}
