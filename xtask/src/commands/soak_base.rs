//! What a soak's stacks are forks of: one stack of each size, saved as soon as it was ready.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use plexlab_harness::backend::BackendKind;
use plexlab_harness::paths::Paths;
use plexlab_harness::progress::Progress;
use plexlab_harness::redact::Redactor;
use plexlab_harness::snapshot::take::take;
use plexlab_harness::stack::spec::{Agent, Operator, Publish, StackSpec};
use plexlab_harness::stack::start::start;
use plexlab_harness::timeline::Timeline;
use plexlab_scenarios::registry::{SCENARIOS, Scenario};

use super::fork::Temporary;
use crate::exit::{Failure, STACK};

/// What the directory begins with. No name of a snapshot does, so it is never listed.
const PREFIX: &str = ".soak-";
/// A larger stack is started for its scenario alone.
const MOST_NODES: u32 = 3;

/// The saved stacks, by their number of nodes. They go with this.
#[derive(Default)]
pub struct Bases {
    saved: BTreeMap<u32, PathBuf>,
    _place: Option<Temporary>,
}

impl Bases {
    /// Brings up one stack of each size that a scenario can be played on a fork of, saves it, and takes it down.
    ///
    /// # Errors
    /// When one does not come up, or cannot be saved.
    pub async fn make(paths: &Paths, progress: &Progress) -> Result<Self, Failure> {
        let place = Temporary::new(paths, PREFIX);
        let sizes: BTreeSet<u32> =
            SCENARIOS.iter().filter(|one| can_fork(one)).map(|one| one.nodes).collect();
        let mut saved = BTreeMap::new();
        for nodes in sizes {
            let directory = place.path().join(nodes.to_string());
            save(paths, nodes, &directory, progress).await?;
            saved.insert(nodes, directory);
        }
        Ok(Self { saved, _place: Some(place) })
    }

    /// The stack that this scenario is played on a fork of; none when it needs one of its own kind.
    pub fn of(&self, scenario: &Scenario) -> Option<&Path> {
        let saved = self.saved.get(&scenario.nodes).filter(|_| can_fork(scenario));
        saved.map(PathBuf::as_path)
    }
}

fn can_fork(scenario: &Scenario) -> bool {
    scenario.clouds.is_empty() && scenario.operator == Operator::Applied && scenario.nodes <= MOST_NODES
}

async fn save(paths: &Paths, nodes: u32, directory: &Path, progress: &Progress) -> Result<(), Failure> {
    let redactor = Redactor::default();
    let timeline = Timeline::new(redactor.clone());
    let spec = StackSpec {
        name: format!("soak-{}-{nodes}", std::process::id()).parse()?,
        nodes,
        backend: BackendKind::Embedded,
        options: Default::default(),
        images: Default::default(),
        clouds: Default::default(),
        operator: Operator::Applied,
        agent: Agent::LeftToScenario,
        publish: Publish::Nowhere,
    };
    let stack = start(spec, paths, timeline, redactor, progress).await?;
    let taken = take(&stack, directory).await;
    let stopped = stack.stop().await;
    taken.map_err(|error| Failure::new(STACK, error.to_string()))?;
    stopped.map_err(|error| Failure::new(STACK, format!("take down the stack that is saved: {error}")))
}
