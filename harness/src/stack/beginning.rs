//! What a stack begins with: an empty cluster and a plan, or a snapshot.

use std::path::Path;

use plexlab_apiserver::Snapshot;

use crate::backend::Origin;
use crate::snapshot::kept::{SnapshotError, copy_volumes, read, read_objects};
use crate::snapshot::moved::{nothing_runs, pod_uids, put_secrets};
use crate::stack::plan::{ObjectRef, Plan, Step, plan};
use crate::stack::secrets::Secrets;
use crate::stack::spec::StackSpec;
use crate::stack::start::StartError;

/// What the start of a stack needs to know of it.
pub(super) struct Beginning {
    /// The steps.
    pub(super) plan: Plan,
    /// The nodes' names.
    pub(super) nodes: Vec<String>,
    /// The objects, if there are some already.
    pub(super) origin: Option<Origin>,
}

/// Of a snapshot: its volumes are copied into the stack's directory; nothing is applied, and what the stack consists of
/// and the snapshot has is waited for.
pub(super) async fn of_snapshot(
    spec: &StackSpec,
    secrets: &Secrets,
    snapshot: &Path,
    stack: &Path,
) -> Result<Beginning, StartError> {
    let record = read(snapshot)?;
    let mut objects = read_objects(snapshot)?;
    let (from, to, pods) = (snapshot.join("kubelet"), stack.join("kubelet"), pod_uids(&objects));
    let copied = tokio::task::spawn_blocking(move || copy_volumes(&from, &to, &pods)).await;
    let unusable =
        |panic| SnapshotError::Unusable { path: snapshot.to_owned(), source: std::io::Error::other(panic) };
    copied.map_err(unusable)?.map_err(SnapshotError::from)?;
    put_secrets(&mut objects, secrets);
    nothing_runs(&mut objects);
    let fresh = plan(spec, secrets)?;
    let mut steps = vec![Step::StartCluster { nodes: record.nodes.clone() }];
    for step in fresh.steps {
        match step {
            Step::WaitReady { objects: wanted } => {
                let there = wanted.into_iter().filter(|reference| holds(&objects, reference)).collect();
                steps.push(Step::WaitReady { objects: there });
            }
            Step::Publish { .. } => steps.push(step),
            Step::StartCluster { .. } | Step::Apply { .. } => {}
        }
    }
    Ok(Beginning {
        plan: Plan { spec: spec.clone(), steps },
        nodes: record.nodes,
        origin: Some(Origin { objects, block: record.block }),
    })
}

fn holds(objects: &Snapshot, reference: &ObjectRef) -> bool {
    objects.collections.values().flatten().any(|object| ObjectRef::of(object) == *reference)
}
