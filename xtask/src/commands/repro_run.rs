//! `repro` of a failed run: plays its scenario again, as often as wanted, each time on a stack of its own.

use std::collections::BTreeSet;

use plexlab_harness::backend::BackendKind;
use plexlab_harness::backend::bare::digest;
use plexlab_harness::clouds::Keeper;
use plexlab_harness::images::{Component, ImageChoice, ImageSource, Images};
use plexlab_harness::observe::complaints::DriverLog;
use plexlab_harness::progress::Progress;
use plexlab_harness::report::outcome::Verdict;
use plexlab_harness::run::Failure as Broken;
use plexlab_scenarios::evidence::{RunCapsule, versions};
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
/// How a capsule calls plexlab's own programs.
const STAND_IN: &str = "stand-in";

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
    let (backend, elsewhere) = backend(capsule)?;
    let options = Options {
        nodes: Some(capsule.nodes),
        backend,
        options: Default::default(),
        images,
        clouds: Default::default(),
        paths: choices::paths()?,
        evidence: args.file.parent().map(|parent| parent.join("again")).unwrap_or_default(),
        log: DriverLog::install().unwrap_or_default(),
        from: None,
    };
    let mut seen = Seen { of: args.times.unwrap_or(TIMES), ..Seen::default() };
    for repetition in 1..=seen.of {
        let outcome = play(scenario, keeper, repetition, &options, &Progress::silent()).await?;
        match outcome.verdict {
            Verdict::Passed => {}
            Verdict::Failed { failure, .. } if failure.step == capsule.failure.step => seen.same += 1,
            Verdict::Failed { failure, .. } => seen.other.push(failure),
            Verdict::Skipped { reason } => {
                return Err(Failure::new(NOTHING_RAN, format!("it cannot be played here: {reason}")));
            }
        }
    }
    seen.differs = elsewhere.into_iter().chain(differences(capsule, &options.images)).collect();
    tell(args, capsule, &seen);
    if seen.same == seen.of { Ok(()) } else { Err(Failure::silent(FAILED)) }
}

/// The backend that it is played on, and what is to be said of that. A stranger's file makes nothing in a cluster that is
/// there, nor by a container engine.
fn backend(capsule: &RunCapsule) -> Result<(BackendKind, Option<String>), Failure> {
    let then: BackendKind = capsule.backend.parse()?;
    if then.has_containers() {
        let said = format!("it was the {then} backend then, and is the embedded one now");
        return Ok((BackendKind::Embedded, Some(said)));
    }
    Ok((then, None))
}

/// What came of it.
#[derive(Debug, Default)]
struct Seen {
    of: u32,
    /// How often it failed in the capsule's step.
    same: u32,
    /// How it failed in others.
    other: Vec<Broken>,
    /// What is not as it was.
    differs: Vec<String>,
}

impl Seen {
    fn verdict(&self) -> &'static str {
        match self.same {
            same if same == self.of => "reproduced",
            0 if !self.differs.is_empty() => "environment-differs",
            0 => "not-reproduced",
            _ => "reproduced-sometimes",
        }
    }
}

fn tell(args: &ReproArgs, capsule: &RunCapsule, seen: &Seen) {
    let Seen { of, same, other, differs } = seen;
    match args.output {
        Output::Json => printer::json(&json!({
            "verdict": seen.verdict(), "scenario": capsule.scenario, "times": same, "of": of,
            "other_failures": other, "environment_differs": differs, "failure": capsule.failure,
        })),
        Output::Text => {
            let word = if *same > 0 { "reproduced" } else { "not reproduced" };
            printer::data(&format!("{word}: {same} of {of} fail as the capsule says"));
            printer::data(&format!("  {}", capsule.failure));
            for failure in other {
                printer::data(&format!("  another failure: {failure}"));
            }
            for what in differs {
                printer::data(&format!("  environment differs: {what}"));
            }
        }
    }
}

/// What ran then and does not now.
fn differences(capsule: &RunCapsule, images: &Images) -> Vec<String> {
    let mut differs = Vec::new();
    let now = versions();
    let names: BTreeSet<&String> = capsule.versions.keys().chain(now.keys()).collect();
    for name in names {
        let [then, now] =
            [&capsule.versions, &now].map(|versions| versions.get(name).map_or("none", String::as_str));
        if then != now {
            differs.push(format!("{name}: {then} then, {now} now"));
        }
    }
    for component in Component::ALL {
        let name = component.name();
        let was_program = capsule.images.get(name).is_some_and(|source| source != STAND_IN);
        let now = match images.source(component) {
            ImageSource::Bin(path) => Some(digest(path)),
            _ => None,
        };
        match (was_program, now) {
            (true, None) => {
                differs.push(format!("{name} was a program then; --image {name}=bin:PATH gives it"));
            }
            (false, Some(_)) => differs.push(format!("{name} was the stand-in then, and is a program now")),
            (true, Some(now)) if now.as_ref() != capsule.digests.get(name) => {
                differs.push(format!("{name} was another program then"));
            }
            (true, Some(_)) | (false, None) => {}
        }
    }
    differs
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(same: u32, differs: &[&str]) -> Seen {
        let differs = differs.iter().map(|what| (*what).to_owned()).collect();
        Seen { of: 3, same, other: Vec::new(), differs }
    }

    #[test]
    fn what_comes_every_time_is_reproduced_whatever_differs_and_what_never_comes_may_be_the_environment() {
        let verdicts = [seen(3, &["plexd"]), seen(1, &["plexd"]), seen(0, &[]), seen(0, &["plexd"])];
        let words: Vec<_> = verdicts.iter().map(Seen::verdict).collect();
        assert_eq!(words, ["reproduced", "reproduced-sometimes", "not-reproduced", "environment-differs"]);
    }
}
