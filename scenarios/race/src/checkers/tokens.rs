//! Bootstrap tokens: who wins, who is told what, and what the rows say.

use std::collections::{HashMap, HashSet};

use plexlab_rules::registration::Refused;

use super::{Findings, calls};
use crate::history::{Call, Change, Event, History, Reply};

pub(super) fn one_winner(history: &History, findings: &mut Findings) {
    let mut token_of = Vec::new();
    let mut winner: HashMap<u32, u32> = HashMap::new();
    for (at, entry) in history.entries.iter().enumerate() {
        match &entry.event {
            Event::Invoke { op, call: Call::Redeem { token, .. }, .. } => {
                let op = *op as usize;
                if token_of.len() <= op {
                    token_of.resize(op + 1, None);
                }
                token_of[op] = Some(*token);
            }
            Event::Return { op, reply: Reply::Won { .. } } => {
                let Some(Some(token)) = token_of.get(*op as usize).copied() else { continue };
                if let Some(first) = winner.insert(token, *op) {
                    findings.add(at, format!("token {token} was won by call {first} and by call {op}"));
                }
            }
            _ => {}
        }
    }
}

pub(super) fn someone_wins(history: &History, findings: &mut Findings) {
    if !history.settled {
        return;
    }
    let mut hopeless: HashSet<u32> = HashSet::new();
    let mut asked: HashMap<u32, usize> = HashMap::new();
    for entry in &history.entries {
        if let Event::Changed(changes) = &entry.event {
            for change in changes {
                if let Change::Consumed { token, .. } | Change::Revoked { token } = change {
                    hopeless.insert(*token);
                }
            }
        }
    }
    for done in calls(history).into_iter().flatten() {
        let Call::Redeem { token, .. } = done.call else { continue };
        let Some((at, reply)) = done.returned else { continue };
        let expired = history
            .ground
            .tokens
            .get(token as usize)
            .is_none_or(|ground| history.entries[at].at >= ground.expires_at);
        // What is refused for want of something else says nothing about the token; `codes` judges it.
        let about_token = matches!(
            reply,
            Reply::Won { .. }
                | Reply::Refused(Refused::TokenConsumed | Refused::TokenExpired | Refused::TokenRevoked)
        );
        if expired || !about_token {
            continue;
        }
        asked.entry(token).or_insert(at);
    }
    let mut lost: Vec<_> = asked.into_iter().filter(|(token, _)| !hopeless.contains(token)).collect();
    lost.sort_unstable();
    for (token, at) in lost {
        findings.add(at, format!("token {token} could be won, somebody asked, and nobody has it"));
    }
}

pub(super) fn codes(history: &History, findings: &mut Findings) {
    let calls = calls(history);
    let tokens = &history.ground.tokens;
    let mut consumed: HashMap<u32, (u32, usize)> = HashMap::new();
    let mut nonces: HashSet<(u32, u32)> = HashSet::new();
    let mut revoked: HashSet<u32> = HashSet::new();
    let mut broken = false;
    for (at, entry) in history.entries.iter().enumerate() {
        match &entry.event {
            Event::Fault(_) => broken = true,
            Event::Return { op, reply: Reply::Unavailable } if !broken => {
                findings.add(at, format!("call {op} was answered 503, and nothing was broken"));
            }
            Event::Changed(changes) => {
                for change in changes {
                    match *change {
                        Change::Consumed { token, nonce, .. } => {
                            consumed.entry(token).or_insert((nonce, at));
                            if let Some(ground) = tokens.get(token as usize) {
                                nonces.insert((ground.project, nonce));
                            }
                        }
                        Change::Revoked { token } => {
                            revoked.insert(token);
                        }
                        _ => {}
                    }
                }
            }
            Event::Return { op, reply: Reply::Internal } => {
                findings.add(at, format!("call {op} was answered 500"));
            }
            Event::Return { op, reply: Reply::Refused(refused) } => {
                let Some(Some(done)) = calls.get(*op as usize) else { continue };
                let Call::Redeem { token, nonce } = done.call else { continue };
                let Some(ground) = tokens.get(token as usize) else { continue };
                let winner = consumed.get(&token);
                let right = match refused {
                    Refused::TokenConsumed => winner.is_some_and(|(other, _)| *other != nonce),
                    Refused::NonceCollision => nonces.contains(&(ground.project, nonce)),
                    // What was consumed before the call is called so.
                    Refused::TokenExpired => {
                        entry.at >= ground.expires_at && winner.is_none_or(|(_, since)| *since > done.invoked)
                    }
                    Refused::TokenRevoked => revoked.contains(&token),
                    Refused::UnknownToken => false,
                    // For want of something else: not of the token.
                    _ => true,
                };
                if !right {
                    findings.add(at, format!("call {op} for token {token} was wrongly told {refused:?}"));
                }
            }
            _ => {}
        }
    }
}

pub(super) fn consumed_with_its_row(history: &History, findings: &mut Findings) {
    let mut before: HashSet<u32> = HashSet::new();
    for (at, entry) in history.entries.iter().enumerate() {
        let Event::Changed(changes) = &entry.event else { continue };
        let mut nodes: Vec<(u32, u32)> = Vec::new();
        let mut consumed: Vec<(u32, u32)> = Vec::new();
        for change in changes {
            match *change {
                Change::Node { node, token, .. } => nodes.push((token, node)),
                Change::Consumed { token, node, .. } => consumed.push((token, node)),
                _ => {}
            }
        }
        nodes.sort_unstable();
        consumed.sort_unstable();
        if nodes != consumed {
            findings.add(at, format!("a commit consumes (token, Node) {consumed:?} and adds {nodes:?}"));
        }
        for (token, _) in consumed {
            if !before.insert(token) {
                findings.add(at, format!("token {token} is consumed once more"));
            }
        }
    }
}

pub(super) fn in_time(history: &History, findings: &mut Findings) {
    let mut consumed: HashSet<u32> = HashSet::new();
    let mut revoked: HashSet<u32> = HashSet::new();
    for (at, entry) in history.entries.iter().enumerate() {
        let Event::Changed(changes) = &entry.event else { continue };
        for change in changes {
            match *change {
                Change::Consumed { token, at: when, .. } => {
                    consumed.insert(token);
                    if let Some(ground) = history.ground.tokens.get(token as usize)
                        && when >= ground.expires_at
                    {
                        let late = when - ground.expires_at;
                        findings.add(at, format!("token {token} is consumed {late} µs after its expiry"));
                    }
                }
                Change::Revoked { token } => {
                    revoked.insert(token);
                }
                _ => continue,
            }
            let (Change::Consumed { token, .. } | Change::Revoked { token }) = *change else { continue };
            if consumed.contains(&token) && revoked.contains(&token) {
                findings.add(at, format!("token {token} is both consumed and revoked"));
            }
        }
    }
}

pub(super) fn one_nonce(history: &History, findings: &mut Findings) {
    let mut used: HashMap<(u32, u32), u32> = HashMap::new();
    for (at, entry) in history.entries.iter().enumerate() {
        let Event::Changed(changes) = &entry.event else { continue };
        for change in changes {
            let Change::Consumed { token, nonce, .. } = *change else { continue };
            let Some(ground) = history.ground.tokens.get(token as usize) else { continue };
            if let Some(other) = used.insert((ground.project, nonce), token)
                && other != token
            {
                let project = ground.project;
                findings.add(
                    at,
                    format!(
                        "nonce {nonce} consumes token {token}, and did token {other} of Project {project}"
                    ),
                );
            }
        }
    }
}
