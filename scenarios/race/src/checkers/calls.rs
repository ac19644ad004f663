//! What callers are told, beside what is.

use std::collections::HashMap;
use std::net::IpAddr;

use super::{Findings, calls};
use crate::history::{Call, Change, Event, History, Reply};

pub(super) fn told_what_is(history: &History, findings: &mut Findings) {
    let calls = calls(history);
    let mut rows: HashMap<u32, (u32, IpAddr)> = HashMap::new();
    let mut told: HashMap<u32, u32> = HashMap::new();
    for (at, entry) in history.entries.iter().enumerate() {
        match &entry.event {
            Event::Changed(changes) => {
                for change in changes {
                    if let Change::Node { node, token, address, .. } = *change {
                        rows.insert(node, (token, address));
                    }
                }
            }
            Event::Return { op, reply: Reply::Won { node, address } } => {
                let Some(Some(done)) = calls.get(*op as usize) else { continue };
                let Call::Redeem { token, .. } = done.call else { continue };
                match rows.get(node) {
                    None => findings.add(at, format!("call {op} is told of Node {node}, which is not there")),
                    Some(row) if *row != (token, *address) => {
                        findings.add(at, format!("call {op} is told of Node {node} with another's data"));
                    }
                    Some(_) => {}
                }
                if let Some(other) = told.insert(*node, *op) {
                    findings
                        .add(at, format!("calls {other} and {op} are both told that Node {node} is theirs"));
                }
            }
            _ => {}
        }
    }
}
