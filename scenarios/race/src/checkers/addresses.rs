//! Addresses of the mesh.

use std::collections::HashMap;
use std::net::IpAddr;

use plexlab_rules::mesh::Cidr;

use super::Findings;
use crate::history::{Change, Event, History};

pub(super) fn one_address(history: &History, findings: &mut Findings) {
    let ground = &history.ground;
    let pools: Vec<Option<Cidr>> = ground.pools.iter().map(|pool| Cidr::parse(pool)).collect();
    let ranges: Vec<Option<Cidr>> =
        ground.projects.iter().map(|project| project.sub_range.as_deref().and_then(Cidr::parse)).collect();
    let mut holder: HashMap<(u32, IpAddr), u32> = HashMap::new();
    let mut place: HashMap<u32, (u32, IpAddr)> = HashMap::new();
    for (at, entry) in history.entries.iter().enumerate() {
        let Event::Changed(changes) = &entry.event else { continue };
        for change in changes {
            match *change {
                Change::Node { node, token, address, .. } => {
                    let Some(token) = ground.tokens.get(token as usize) else { continue };
                    let Some(project) = ground.projects.get(token.project as usize) else { continue };
                    let key = (project.domain, address);
                    place.insert(node, key);
                    if let Some(other) = holder.insert(key, node) {
                        findings.add(at, format!("Nodes {other} and {node} both have {address}"));
                    }
                    let own = ranges[token.project as usize];
                    let right = match (own, pools.get(project.domain as usize).copied().flatten()) {
                        (Some(range), _) => range.has(address),
                        (None, Some(pool)) => {
                            let of_another = ground.projects.iter().zip(&ranges).any(|(other, range)| {
                                other.domain == project.domain
                                    && range.is_some_and(|range| range.has(address))
                            });
                            pool.has(address) && !of_another
                        }
                        (None, None) => true,
                    };
                    if !right {
                        findings.add(at, format!("{address} of Node {node} is not of its Project's range"));
                    }
                }
                Change::NodeGone { node } => {
                    if let Some(key) = place.remove(&node)
                        && holder.get(&key) == Some(&node)
                    {
                        holder.remove(&key);
                    }
                }
                _ => {}
            }
        }
    }
}
