//! Provisioned Resources: their phases, their Nodes and their substrates.

use std::collections::{BTreeMap, HashMap, HashSet};

use plexlab_rules::phase::{MeshRole, Phase};

use super::Findings;
use crate::history::{Change, Event, History, Substrate};

fn role(history: &History, resource: u32) -> Option<MeshRole> {
    history.ground.resources.get(resource as usize).copied()
}

pub(super) fn legal(history: &History, findings: &mut Findings) {
    let mut rows: HashMap<u32, Vec<Phase>> = HashMap::new();
    // How many of a Resource's phases a watcher has behind it.
    let mut seen: HashMap<(u16, u32), usize> = HashMap::new();
    for (at, entry) in history.entries.iter().enumerate() {
        match &entry.event {
            Event::Changed(changes) => {
                for change in changes {
                    let Change::Phase { resource, from, to } = *change else { continue };
                    let Some(role) = role(history, resource) else { continue };
                    let phases = rows.entry(resource).or_insert_with(|| vec![Phase::Pending]);
                    let last = phases.last().copied().unwrap_or(Phase::Pending);
                    if last != from || !from.may_become(to, role) {
                        let (is, from, to) = (last.as_str(), from.as_str(), to.as_str());
                        findings.add(at, format!("Resource {resource}, {is}, is moved from {from} to {to}"));
                    }
                    phases.push(to);
                }
            }
            Event::Saw { watcher, resource, phase } => {
                let phases = rows.entry(*resource).or_insert_with(|| vec![Phase::Pending]);
                let behind = seen.entry((*watcher, *resource)).or_default();
                match phases[*behind..].iter().position(|known| known == phase) {
                    Some(further) => *behind += further,
                    None => findings.add(
                        at,
                        format!(
                            "watcher {watcher} sees Resource {resource} in {phase:?} after {:?}",
                            phases[*behind]
                        ),
                    ),
                }
            }
            _ => {}
        }
    }
}

/// Nodes that are registered, by Resource.
fn registered(change: &Change, nodes: &mut BTreeMap<u32, u32>) {
    match *change {
        Change::Node { node, resource, .. } => {
            nodes.insert(node, resource);
        }
        Change::NodeGone { node } => {
            nodes.remove(&node);
        }
        _ => {}
    }
}

pub(super) fn node_before_substrate(history: &History, findings: &mut Findings) {
    let mut nodes = BTreeMap::new();
    for (at, entry) in history.entries.iter().enumerate() {
        match &entry.event {
            Event::Changed(changes) => changes.iter().for_each(|change| registered(change, &mut nodes)),
            Event::Cluster { resource, what: Substrate::Deleted } => {
                if let Some((node, _)) = nodes.iter().find(|(_, of)| *of == resource) {
                    findings.add(
                        at,
                        format!(
                            "the substrate of Resource {resource} is deleted, Node {node} is in the mesh"
                        ),
                    );
                }
            }
            _ => {}
        }
    }
}

pub(super) fn ready(history: &History, findings: &mut Findings) {
    let (mut nodes, mut anchored) = (BTreeMap::new(), HashSet::new());
    for (at, entry) in history.entries.iter().enumerate() {
        let Event::Changed(changes) = &entry.event else { continue };
        for change in changes {
            registered(change, &mut nodes);
            match *change {
                Change::Anchored { node } => {
                    anchored.insert(node);
                }
                Change::Phase { resource, to: Phase::Ready, .. }
                    if role(history, resource) == Some(MeshRole::Node)
                        && !nodes.iter().any(|(node, of)| *of == resource && anchored.contains(node)) =>
                {
                    findings.add(at, format!("Resource {resource} is Ready without a Node in the mesh"));
                }
                _ => {}
            }
        }
    }
}

pub(super) fn no_token_outlives(history: &History, findings: &mut Findings) {
    let mut live: BTreeMap<u32, u32> = BTreeMap::new();
    let mut over: HashSet<u32> = HashSet::new();
    for (at, entry) in history.entries.iter().enumerate() {
        let Event::Changed(changes) = &entry.event else { continue };
        for change in changes {
            match *change {
                Change::Minted { token, resource } => {
                    live.insert(token, resource);
                }
                Change::Revoked { token } | Change::Consumed { token, .. } => {
                    live.remove(&token);
                }
                Change::Phase {
                    resource, to: Phase::Failed | Phase::Deregistering | Phase::Deleted, ..
                } => {
                    over.insert(resource);
                }
                _ => {}
            }
        }
        if let Some((token, resource)) = live.iter().find(|(_, resource)| over.contains(resource)) {
            findings.add(at, format!("token {token} can be redeemed though Resource {resource} is over"));
            return;
        }
    }
}

pub(super) fn ends(history: &History, findings: &mut Findings) {
    if !history.settled {
        return;
    }
    let last = history.entries.len().saturating_sub(1);
    let (mut phases, mut nodes, mut substrates) = (BTreeMap::new(), BTreeMap::new(), HashSet::new());
    for entry in &history.entries {
        match &entry.event {
            Event::Changed(changes) => {
                for change in changes {
                    registered(change, &mut nodes);
                    if let Change::Phase { resource, to, .. } = *change {
                        phases.insert(resource, to);
                    }
                }
            }
            Event::Cluster { resource, what: Substrate::Made } => {
                substrates.insert(*resource);
            }
            Event::Cluster { resource, .. } => {
                substrates.remove(resource);
            }
            _ => {}
        }
    }
    for resource in 0..u32::try_from(history.ground.resources.len()).unwrap_or(u32::MAX) {
        let phase = phases.get(&resource).copied().unwrap_or(Phase::Pending);
        if phase.is_moving() {
            findings.add(last, format!("Resource {resource} stays in {phase:?}"));
        }
        if phase == Phase::Deleted && substrates.contains(&resource) {
            findings.add(last, format!("Resource {resource} is Deleted, and its substrate is there"));
        }
        if phase == Phase::Deleted && nodes.values().any(|of| *of == resource) {
            findings.add(last, format!("Resource {resource} is Deleted, and its Node is in the mesh"));
        }
    }
}
