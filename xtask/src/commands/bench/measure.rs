//! The measurements, each on stacks of its own.

use std::time::{Duration, Instant};

use plexlab_harness::backend::BackendKind;
use plexlab_harness::backend::embedded::time_api_server;
use plexlab_harness::backend::options::BackendOptions;
use plexlab_harness::clouds::{Clouds, Keeper};
use plexlab_harness::images::Images;
use plexlab_harness::machine::memory::memory_of_tree;
use plexlab_harness::observe::complaints::DriverLog;
use plexlab_harness::progress::Progress;
use plexlab_harness::redact::Redactor;
use plexlab_harness::report::outcome::{ScenarioOutcome, Verdict};
use plexlab_harness::stack::running::RunningStack;
use plexlab_harness::stack::spec::{Agent, Operator, Publish, StackSpec};
use plexlab_harness::stack::start::start;
use plexlab_harness::timeline::Timeline;
use plexlab_scenarios::registry::{SCENARIOS, find};
use plexlab_scenarios::runner::{Options, play};

use super::figure::Figure;
use super::real_kube;
use crate::commands::choices;
use crate::exit::{FAILED, Failure, STACK};
use crate::printer;

/// Sizes of the measured races.
const RACES: [u32; 2] = [50, 500];

fn millis(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1000.0
}

async fn stack(nodes: u32, number: u32) -> Result<RunningStack, Failure> {
    stack_with(nodes, number, Images::default()).await
}

/// A stack with these images.
pub async fn stack_with(nodes: u32, number: u32, images: Images) -> Result<RunningStack, Failure> {
    let spec = StackSpec {
        name: format!("bench-{}-{number}", std::process::id()).parse()?,
        nodes,
        backend: BackendKind::Embedded,
        options: BackendOptions::default(),
        images,
        clouds: Clouds::new(),
        operator: Operator::default(),
        agent: Agent::LeftToScenario,
        publish: Publish::Nowhere,
    };
    let redactor = Redactor::default();
    let timeline = Timeline::new(redactor.clone());
    Ok(start(spec, &choices::paths()?, timeline, redactor, &Progress::silent()).await?)
}

/// Takes a stack down.
pub async fn stop(stack: RunningStack) -> Result<(), Failure> {
    stack.stop().await.map_err(|error| Failure::new(STACK, format!("take the stack down: {error}")))
}

/// From nothing to a ready stack, and back. One unmeasured round fills the caches.
pub async fn up(repeat: u32) -> Result<Vec<Figure>, Failure> {
    stop(stack(3, 0).await?).await?;
    let (mut ups, mut downs) = (Vec::new(), Vec::new());
    for number in 1..=repeat {
        let stack = stack(3, number).await?;
        ups.push(millis(stack.took));
        let begun = Instant::now();
        stop(stack).await?;
        downs.push(millis(begun.elapsed()));
    }
    Ok(vec![
        Figure::new("up, 3 nodes, to ready", "ms", ups, Some("under 1000 ms")),
        Figure::new("down", "ms", downs, None),
    ])
}

/// From nothing to the first answer of the API server, beside the real one when it is given.
pub async fn apiserver(repeat: u32) -> Result<Vec<Figure>, Failure> {
    let mut values = Vec::new();
    for _ in 0..repeat {
        let took = time_api_server().await.map_err(|error| Failure::new(STACK, error.to_string()))?;
        values.push(millis(took));
    }
    let mut figures = vec![Figure::new("API server, start to first answer", "ms", values, Some("60 ms"))];
    match real_kube::assets() {
        None => {
            printer::say("KUBEBUILDER_ASSETS is not set: the real kube-apiserver is not measured beside it")
        }
        Some(assets) => {
            let mut values = Vec::new();
            for _ in 0..repeat {
                values.push(millis(real_kube::time_start(&assets).await?));
            }
            figures.push(Figure::new("real kube-apiserver with etcd, start to ready", "ms", values, None));
        }
    }
    Ok(figures)
}

/// Memory of an idle stack, shared pages counted once.
pub async fn memory() -> Result<Vec<Figure>, Failure> {
    let stack = stack(3, 0).await?;
    let memory = memory_of_tree(std::process::id());
    stop(stack).await?;
    let mebibytes = |kibibytes: u64| kibibytes as f64 / 1024.0;
    let is_postgres = |name: &str| name == "postgres";
    let total: u64 = memory.iter().filter(|(name, _)| !is_postgres(name)).map(|(_, size)| size).sum();
    let mut figures = vec![Figure::new(
        "idle stack without Postgres, 3 nodes",
        "MiB",
        vec![mebibytes(total)],
        Some("60 MiB"),
    )];
    for (name, size) in memory {
        figures.push(Figure::new(format!("  of which {name}"), "MiB", vec![mebibytes(size)], None));
    }
    Ok(figures)
}

/// The race of many agents for one token: from their installation to the verdict.
pub async fn race() -> Result<Vec<Figure>, Failure> {
    let mut figures = Vec::new();
    for nodes in RACES {
        let outcome = played("adopt-via-eso", Some(nodes)).await?;
        let until_verdict: f64 = outcome
            .steps
            .iter()
            .skip_while(|step| step.name != "install plexd")
            .take_while(|step| !step.name.starts_with("issue"))
            .map(|step| step.seconds)
            .sum();
        let what = format!("race of {nodes} agents, installation to verdict");
        figures.push(Figure::new(what, "s", vec![until_verdict], None));
    }
    Ok(figures)
}

/// All scenarios, one after another.
pub async fn all_scenarios() -> Result<Vec<Figure>, Failure> {
    let begun = Instant::now();
    for scenario in SCENARIOS {
        played(scenario.name, None).await?;
    }
    let what = format!("run of all {} scenarios", SCENARIOS.len());
    Ok(vec![Figure::new(what, "s", vec![begun.elapsed().as_secs_f64()], None)])
}

async fn played(name: &str, nodes: Option<u32>) -> Result<ScenarioOutcome, Failure> {
    let Some(scenario) = find(name) else {
        return Err(Failure::new(FAILED, format!("there is no scenario {name}")));
    };
    let options = Options {
        nodes,
        backend: BackendKind::Embedded,
        options: BackendOptions::default(),
        images: Images::default(),
        clouds: Clouds::new(),
        paths: choices::paths()?,
        evidence: std::env::temp_dir().join(format!("plexlab-bench-{}", std::process::id())),
        log: DriverLog::default(),
        from: None,
    };
    let outcome = play(scenario, Keeper::Vault, 1, &options, &Progress::silent()).await?;
    match &outcome.verdict {
        Verdict::Failed { failure, rerun, .. } => {
            Err(Failure::new(FAILED, format!("{name}: {failure}")).help(rerun.clone()))
        }
        Verdict::Passed | Verdict::Skipped { .. } => Ok(outcome),
    }
}
