//! `repro` of a failed run: plays its scenario again, as often as wanted, each time on a stack of its own.

use plexlab_harness::clouds::Keeper;
use plexlab_harness::images::{ImageChoice, Images};
use plexlab_harness::observe::complaints::DriverLog;
use plexlab_harness::progress::Progress;
use plexlab_harness::report::outcome::Verdict;
use plexlab_harness::run::Failure as Broken;
use plexlab_scenarios::evidence::RunCapsule;
use plexlab_scenarios::registry;
use plexlab_scenarios::runner::{Options, play};
use serde_json::json;

use super::choices;
use super::interrupt::interrupted;
use super::repro::refused;
use crate::cli::{Output, ReproArgs};
use crate::exit::{FAILED, Failure, NOTHING_RAN, USAGE};
use crate::printer;

/// How often a scenario is played when nobody says otherwise: each time takes a stack.
const TIMES: u32 = 3;
/// The most nodes that a stranger's capsule may ask for.
const MOST_NODES: u32 = 100;

/// Runs it.
pub async fn run(args: &ReproArgs, text: &str) -> Result<(), Failure> {
    let capsule = RunCapsule::read(text).map_err(|error| refused(&args.file, &error))?;
    tokio::select! {
        outcome = reproduce(args, &capsule) => outcome,
        () = interrupted() => Err(Failure::new(FAILED, "interrupted; `cargo xtask gc` removes what is left")),
    }
}

async fn reproduce(args: &ReproArgs, capsule: &RunCapsule) -> Result<(), Failure> {
    let wrong = |what: String| Failure::new(USAGE, format!("{} {what}", args.file.display()));
    let scenario = registry::find(&capsule.scenario).ok_or_else(|| {
        wrong(format!("is of the scenario {:?}, which this tool does not have", capsule.scenario))
    })?;
    let keeper = Keeper::all().find(|keeper| keeper.name() == capsule.store);
    let keeper = keeper.ok_or_else(|| {
        wrong(format!("is of the store {:?}, which this tool does not have", capsule.store))
    })?;
    if capsule.nodes > MOST_NODES {
        return Err(wrong(format!("asks for {} nodes; at most {MOST_NODES} are played", capsule.nodes)));
    }
    let choice: Option<ImageChoice> = args.agents_are.image.as_deref().map(str::parse).transpose()?;
    let images = Images::new(choice).with_agent(choices::agent(args.agents_are.agent.as_deref())?);
    let options = Options {
        nodes: Some(capsule.nodes),
        backend: capsule.backend.parse()?,
        options: Default::default(),
        images,
        clouds: Default::default(),
        paths: choices::paths()?,
        evidence: args.file.parent().map(|parent| parent.join("again")).unwrap_or_default(),
        log: DriverLog::install().unwrap_or_default(),
    };
    let of = args.times.unwrap_or(TIMES);
    let (mut same, mut other, mut skipped) = (0, Vec::<Broken>::new(), None);
    for repetition in 1..=of {
        let outcome = play(scenario, keeper, repetition, &options, &Progress::silent()).await?;
        match outcome.verdict {
            Verdict::Passed => {}
            Verdict::Failed { failure, .. } if failure.step == capsule.failure.step => same += 1,
            Verdict::Failed { failure, .. } => other.push(failure),
            Verdict::Skipped { reason } => skipped = Some(reason),
        }
    }
    if let Some(reason) = skipped {
        return Err(Failure::new(NOTHING_RAN, format!("it cannot be played here: {reason}")));
    }
    let differs: Vec<&str> = capsule
        .images
        .iter()
        .filter(|(name, source)| source.starts_with("bin:") && !options_have(&options, name))
        .map(|(name, _)| name.as_str())
        .collect();
    match args.output {
        Output::Json => printer::json(&json!({
            "scenario": capsule.scenario, "times": same, "of": of, "other_failures": other,
            "programs_missing": differs, "failure": capsule.failure,
        })),
        Output::Text => {
            let word = if same > 0 { "reproduced" } else { "not reproduced" };
            printer::data(&format!("{word}: {same} of {of} fail as the capsule says"));
            printer::data(&format!("  {}", capsule.failure));
            for failure in &other {
                printer::data(&format!("  another failure: {failure}"));
            }
            if !differs.is_empty() {
                let names = differs.join(", ");
                printer::data(&format!(
                    "  environment differs: {names} was a program then; --image gives it"
                ));
            }
        }
    }
    if same == of { Ok(()) } else { Err(Failure::silent(FAILED)) }
}

fn options_have(options: &Options, component: &str) -> bool {
    plexlab_harness::images::Component::ALL
        .into_iter()
        .any(|known| known.name() == component && !options.images.is_stand_in(known))
}
