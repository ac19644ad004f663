//! Runs a scenario on a stack of its own: up, play, record, down.

use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use plexlab_harness::backend::attach;
use plexlab_harness::backend::options::BackendOptions;
use plexlab_harness::backend::{BackendKind, ClusterError};
use plexlab_harness::clouds::{self, Clouds, Keeper};
use plexlab_harness::flux;
use plexlab_harness::images::{Component, Images};
use plexlab_harness::machine::leftovers::Before;
use plexlab_harness::observe;
use plexlab_harness::observe::complaints::{self, DriverLog};
use plexlab_harness::paths::Paths;
use plexlab_harness::progress::Progress;
use plexlab_harness::redact::Redactor;
use plexlab_harness::report::outcome::{ScenarioOutcome, Verdict};
use plexlab_harness::run::{Failure, Run, rounded};
use plexlab_harness::stack::running::RunningStack;
use plexlab_harness::stack::spec::{Agent, Operator, Publish, StackName, StackSpec};
use plexlab_harness::stack::start::{StartError, restore, start};
use plexlab_harness::timeline::{Source, Timeline};
use tokio_util::sync::CancellationToken;

use crate::allowed::judge;
use crate::contract::recorded;
use crate::elsewhere::Leaving;
use crate::evidence::Failed;
use crate::lifecycle;
use crate::registry::Scenario;

/// How long a scenario may take on few nodes, its waits included; every node adds a second. Only a scenario that
/// hangs meets it: each of its waits has a shorter limit of its own.
const LIMIT: Duration = Duration::from_secs(300);

/// The step after a scenario's last.
const DOWN: &str = "down";
/// On kind, where each node is a container with a kubelet and a container runtime of its own, more are to be asked for.
const MOST_CONTAINERS: u32 = 3;
/// The step of a program of the cluster that ended by itself.
const CLUSTER: &str = "keep the cluster";

/// What the user chose for a run.
#[derive(Debug, Clone)]
pub struct Options {
    /// Number of nodes; none leaves it to the scenario.
    pub nodes: Option<u32>,
    /// Cluster backend.
    pub backend: BackendKind,
    /// What else was chosen for the backend.
    pub options: BackendOptions,
    /// Image sources.
    pub images: Images,
    /// Clouds that every stack has.
    pub clouds: Clouds,
    /// Where stacks and caches are.
    pub paths: Paths,
    /// Where evidence of failures is kept.
    pub evidence: PathBuf,
    /// Hears what this process complains about.
    pub log: DriverLog,
    /// Where the saved stack is that each play forks; none starts one.
    pub from: Option<PathBuf>,
}

/// The stack of a run did not come up; no scenario is to blame.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// Bringing the stack up failed.
    #[error(transparent)]
    Start(#[from] StartError),
}

/// Plays a scenario once.
///
/// # Errors
/// [`RunError`] when its stack does not come up. A scenario that fails is an outcome, not an error.
pub async fn play(
    scenario: &Scenario,
    keeper: Keeper,
    repetition: u32,
    options: &Options,
    progress: &Progress,
) -> Result<ScenarioOutcome, RunError> {
    let begun = Instant::now();
    let outcome = |verdict, stack_seconds, steps, timeline: &Timeline| ScenarioOutcome {
        scenario: named(scenario, keeper),
        repetition,
        verdict,
        seconds: rounded(begun.elapsed()),
        stack_seconds,
        steps,
        again: None,
        timeline: timeline.entries(),
    };
    let redactor = Redactor::default();
    let timeline = Timeline::new(redactor.clone());
    let missing = scenario.refuses(keeper).or_else(|| scenario.lacks(&options.images, keeper));
    let missing = missing.or_else(|| scenario.stays_off(options.backend, keeper));
    if let Some(reason) = missing {
        return Ok(outcome(Verdict::Skipped { reason }, 0.0, Vec::new(), &timeline));
    }
    let wanted = wanted_nodes(options.nodes, options.backend, scenario.nodes);
    if options.nodes.is_none() && wanted < scenario.nodes {
        let fewer = format!("{wanted} nodes in place of {}: on kind each is a container", scenario.nodes);
        timeline.record(Source::Stack, "harness", &fewer);
    }
    let nodes = match nodes_for(wanted, options).await? {
        Ok(nodes) => nodes,
        Err(reason) => return Ok(outcome(Verdict::Skipped { reason }, 0.0, Vec::new(), &timeline)),
    };
    let spec = StackSpec {
        name: StackName::of_run(repetition),
        nodes,
        backend: options.backend,
        options: options.options.clone(),
        images: options.images.clone(),
        clouds: scenario.clouds.iter().copied().chain(keeper.cloud()).chain(options.clouds.clone()).collect(),
        operator: scenario.operator,
        agent: Agent::LeftToScenario,
        publish: Publish::Nowhere,
    };
    let before = Before::look();
    // What an earlier stack said on its way down is not this one's.
    options.log.take();
    let (paths, heard, hidden) = (&options.paths, timeline.clone(), redactor.clone());
    let stack = match &options.from {
        None => start(spec, paths, heard, hidden, progress).await?,
        Some(saved) => restore(spec, saved, paths, heard, hidden, progress).await?,
    };
    let stack_seconds = rounded(stack.took);

    let watching = CancellationToken::new();
    let watch = observe::cluster::watch(stack.client.clone(), timeline.clone(), watching.clone());
    let watch = tokio::spawn(watch);
    let run = Run::new(stack, keeper);
    keep_bodies(&run.stack).await;
    let limit = LIMIT.max(lifecycle::many::limit()) + Duration::from_secs(u64::from(nodes));
    let result = match tokio::time::timeout(limit, (scenario.body)(&run)).await {
        Ok(result) => result,
        Err(_) => Err(Failure::expected(format!("an end within {limit:?}"), "the scenario still runs")),
    };
    let traffic = record_traffic(&run.stack).await;
    watching.cancel();
    let _ = watch.await;
    let leaving = Leaving::of(&run);
    let (stack, steps) = run.finish();
    // A scenario that failed has its reason already; complaints would hide it.
    let result = result.and(traffic);
    let result = result.and_then(|()| {
        let clouds = clouds::workloads(&stack.spec.clouds);
        let by_flux = if stack.spec.operator == Operator::ByFlux { &flux::WORKLOADS[..] } else { &[] };
        let containers: Vec<&str> =
            judged(&stack.spec.images).chain(clouds).chain(by_flux.iter().copied()).collect();
        let mut complaints = complaints::of_containers(&stack.dir, &containers);
        complaints.extend(options.log.take());
        judge(scenario.name, &complaints)
    });
    let result = besides(result, cluster_runs(&stack));
    let (dir, service) = (stack.dir.clone(), service_address(&stack));
    let evidence = match &result {
        Ok(()) => None,
        Err(failure) => {
            let failed = Failed {
                scenario,
                keeper,
                repetition,
                stack: &stack,
                steps: &steps,
                failure,
                timeline: &timeline,
                command: rerun(scenario, keeper, options),
            };
            failed.keep(&options.evidence).await
        }
    };
    let stopped = stack.stop().await;
    // Now that its agents are gone.
    let left = match leaving {
        Ok(Some(leaving)) => leaving.leave().await,
        Ok(None) => Ok(()),
        Err(failure) => Err(failure),
    };
    let stopped = stopped
        .map_err(|error| Failure { step: DOWN.into(), ..Failure::error("take the stack down", error) });
    let nothing_left = before.nothing_left(&dir, service).await;
    let nothing_left = nothing_left.map_err(|left| Failure { step: DOWN.into(), ..left.into() });
    let result = [left, stopped, nothing_left].into_iter().fold(result, besides);
    let verdict = match result {
        Ok(()) => Verdict::Passed,
        Err(failure) => Verdict::Failed {
            failure: without_secrets(failure, &redactor),
            rerun: rerun(scenario, keeper, options),
            evidence: evidence.map(|path| path.display().to_string()),
        },
    };
    Ok(outcome(verdict, stack_seconds, steps, &timeline))
}

/// What went wrong first is the failure; what did on the way down is told with it.
fn besides(result: Result<(), Failure>, later: Result<(), Failure>) -> Result<(), Failure> {
    match (result, later) {
        (Err(first), Err(later)) => {
            let Failure { step, expected, seen } = first;
            Err(Failure {
                step,
                expected,
                seen: format!("{seen}\nand then, in {}: {}", later.step, later.seen),
            })
        }
        (result, later) => result.and(later),
    }
}

/// A scenario whose API server was gone shows no more than that nobody answered; this says why.
fn cluster_runs(stack: &RunningStack) -> Result<(), Failure> {
    let Some(ended) = stack.cluster_ended() else { return Ok(()) };
    let failure = Failure::expected("the cluster's own programs run until the stack is taken down", ended);
    Err(Failure { step: CLUSTER.into(), ..failure })
}

fn without_secrets(failure: Failure, redactor: &Redactor) -> Failure {
    let redacted = |text: String| redactor.redact(&text).into_owned();
    Failure {
        step: redacted(failure.step),
        expected: failure.expected.map(redacted),
        seen: redacted(failure.seen),
    }
}

/// How many nodes the stack would have: as many as were asked for, else the scenario's own.
fn wanted_nodes(asked: Option<u32>, backend: BackendKind, own: u32) -> u32 {
    match (asked, backend) {
        (Some(asked), _) => asked,
        (None, BackendKind::Kind) => own.min(MOST_CONTAINERS),
        (None, BackendKind::Embedded | BackendKind::Envtest | BackendKind::Kubeconfig) => own,
    }
}

/// How many nodes the stack is to have: a cluster that is there has what it has. Or why it cannot be.
async fn nodes_for(wanted: u32, options: &Options) -> Result<Result<u32, String>, RunError> {
    if options.backend != BackendKind::Kubeconfig {
        return Ok(Ok(wanted));
    }
    let there = attach::cluster::nodes(&options.options).await;
    let there = there.map_err(|error| StartError::from(ClusterError::from(error)))?;
    Ok(if there < wanted {
        Err(format!("needs {wanted} nodes, and the cluster has {there} that take pods"))
    } else {
        Ok(there)
    })
}

/// A client for the stand-ins' own routes; none when the control plane is not ours.
fn control_client(stack: &RunningStack) -> Option<reqwest::Client> {
    let is_ours = stack.spec.images.is_stand_in(Component::ControlPlane);
    let client = || reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(5)).build().ok();
    is_ours.then(client).flatten()
}

/// Has the control plane keep what the check against the OpenAPI document needs, when there is one. That it is to be
/// checked at all, and could not be, is found out afterwards.
async fn keep_bodies(stack: &RunningStack) {
    if let (Ok(Some(_)), Some(http)) = (recorded::given(), control_client(stack)) {
        let _ = recorded::keep_bodies(&http, &stack.addresses.control_plane).await;
    }
}

/// Puts what the control plane saw and wrote into the timeline, and holds it against the OpenAPI document, when there
/// is one. What cannot be read is left out: the scenario may have broken it on purpose.
async fn record_traffic(stack: &RunningStack) -> Result<(), Failure> {
    let mut fits = recorded::given().map(drop);
    if let Some(http) = control_client(stack) {
        let mut servers =
            vec![("control-plane", &stack.addresses.control_plane), ("vault", &stack.addresses.vault)];
        servers.extend(stack.addresses.clouds.iter().map(|(cloud, url)| (cloud.name(), url)));
        for (name, url) in servers {
            if let Ok(exchanges) = observe::requests::read(&http, url, 0).await {
                observe::requests::record(&stack.timeline, name, &exchanges);
                if name == "control-plane" && fits.is_ok() {
                    fits = recorded::judge(&exchanges);
                }
            }
        }
    }
    if let Some(dsn) = stack.addresses.dsn() {
        observe::rows::record(&stack.timeline, &dsn).await;
    }
    fits
}

/// Containers whose logs are judged: the stand-ins' own. Postgres is a real program with levels of its own.
fn judged(images: &Images) -> impl Iterator<Item = &'static str> {
    let judged = Component::ALL.into_iter().filter(|component| *component != Component::Postgres);
    judged.filter(|component| images.is_stand_in(*component)).map(Component::workload)
}

/// An address in the stack's own block.
fn service_address(stack: &RunningStack) -> Option<Ipv4Addr> {
    if stack.spec.backend.has_containers() {
        return None;
    }
    let (ip, _) = stack.addresses.vault.strip_prefix("http://")?.rsplit_once(':')?;
    ip.parse().ok()
}

/// The name of a scenario in reports: with the store, where that is not the default.
pub fn named(scenario: &Scenario, keeper: Keeper) -> String {
    match keeper {
        Keeper::Vault => scenario.name.to_owned(),
        other => format!("{}@{other}", scenario.name),
    }
}

/// The command that plays this scenario again in the same way.
fn rerun(scenario: &Scenario, keeper: Keeper, options: &Options) -> String {
    let mut command = format!("cargo xtask run --scenario {}", scenario.name);
    if keeper != Keeper::Vault {
        command.push_str(&format!(" --store {keeper}"));
    }
    if let Some(nodes) = options.nodes {
        command.push_str(&format!(" --nodes {nodes}"));
    }
    if options.backend != BackendKind::Embedded {
        command.push_str(&format!(" --backend {}", options.backend));
    }
    if let Some(path) = &options.options.kubeconfig {
        command.push_str(&format!(" --kubeconfig {}", path.display()));
    }
    for (name, value) in
        [("context", &options.options.context), ("allow-context", &options.options.allow_context)]
    {
        command.extend(value.iter().map(|value| format!(" --{name} {value}")));
    }
    command.extend(options.options.node_image.iter().map(|image| format!(" --node-image {image}")));
    command.extend(options.options.image_archives.iter().map(|path| format!(" --load {}", path.display())));
    for component in Component::ALL {
        if !options.images.is_stand_in(component) {
            command.push_str(&format!(" --image {component}={}", options.images.source(component)));
        }
    }
    if let Some(owner) = options.images.owner() {
        let (file, domain) = (owner.token_file.display(), &owner.domain);
        command.push_str(&format!(" --owner-token-file {file} --owner-domain {domain}"));
    }
    if let Some(agent) = options.images.agent() {
        command.push_str(&format!(" --agent {}", agent.facts().name));
    }
    if let Some(definitions) = options.images.definitions() {
        command.push_str(&format!(" --crds {}", definitions.path().display()));
    }
    command
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_crowd_of_containers_comes_only_when_it_is_asked_for() {
        assert_eq!(wanted_nodes(None, BackendKind::Embedded, 50), 50);
        assert_eq!(wanted_nodes(None, BackendKind::Kind, 50), 3);
        assert_eq!(wanted_nodes(None, BackendKind::Kind, 1), 1);
        assert_eq!(wanted_nodes(Some(50), BackendKind::Kind, 1), 50);
    }

    #[test]
    fn what_goes_wrong_on_the_way_down_is_told_with_what_went_wrong_before() {
        let first = || Failure { step: "race".into(), ..Failure::expected("one winner", "two") };
        let later = || Failure { step: DOWN.into(), ..Failure::error("take the stack down", "late") };
        assert_eq!(besides(Ok(()), Ok(())), Ok(()));
        assert_eq!(besides(Err(first()), Ok(())), Err(first()));
        assert_eq!(besides(Ok(()), Err(later())), Err(later()));
        let both = besides(Err(first()), Err(later())).unwrap_err();
        assert_eq!((both.step.as_str(), both.expected.as_deref()), ("race", Some("one winner")));
        assert_eq!(both.seen, "two\nand then, in down: take the stack down: late");
    }
}
