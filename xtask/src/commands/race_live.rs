//! `race --live` and `repro` of what it found: races with real processes.

use std::time::Instant;

use plexlab_harness::backend::containers::FIXTURE_ARGUMENT;
use plexlab_harness::images::{Component, ImageChoice, ImageSource};
use plexlab_race::capsule::Capsule;
use plexlab_race::checkers;
use plexlab_race::mutants::{self, MUTANTS};
use plexlab_race::scenario::{Options, Scenario};
use plexlab_race::turns::texts;
use plexlab_scenarios::live::arena::{Arena, LiveError};
use plexlab_scenarios::live::play;
use plexlab_scenarios::live::programs::AgentProgram;
use serde_json::json;

use super::choices;
use super::interrupt::interrupted;
use super::race::{chosen, given, keep, report, write};
use super::repro::{TIMES, refused};
use crate::cli::{Output, RaceAgentArgs, RaceArgs, ReproArgs};
use crate::exit::{FAILED, Failure, STACK, USAGE};
use crate::printer;

/// Schedules of a live race when nobody says otherwise: some seconds.
const SCHEDULES: u64 = 50;
/// Within so many a mutant must be caught.
const MUTANT_SCHEDULES: u64 = 500;

/// Runs `race --live`.
pub async fn run(args: RaceArgs) -> Result<(), Failure> {
    tokio::select! {
        outcome = race(&args) => outcome,
        () = interrupted() => Err(Failure::new(FAILED, "interrupted; nothing is left running")),
    }
}

async fn race(args: &RaceArgs) -> Result<(), Failure> {
    if args.mutants {
        return judge_mutants(args).await;
    }
    let Some(name) = &args.scenario else {
        return Err(Failure::new(USAGE, "which race is to be held with real processes?")
            .help("`cargo xtask race` lists them"));
    };
    let (scenario, options) = chosen(args, name)?;
    play::arena(scenario, &options).map_err(failure)?;
    if let Some(mutant) = args.mutant.as_deref().and_then(mutants::named)
        && let Some(why) = mutant.not_live()
    {
        let text = format!("the mutant {} is known to the simulation only: {why}", mutant.name());
        return Err(Failure::new(USAGE, text).help("without --live it is played"));
    }
    let mut arena = arena(scenario, &options, &args.agents_are).await?;
    if let Some(schedule) = given(args)? {
        let played = play::replay(&mut arena, scenario, &options, &schedule).await.map_err(failure)?;
        let capsule = played.capsule(&arena, scenario, &options, (args.seed, 0)).await.map_err(failure)?;
        arena.stop().await.map_err(left)?;
        return keep(args, &capsule);
    }
    let began = Instant::now();
    let crowd = play::is_crowd(scenario, &options);
    let schedules = args.schedules.unwrap_or(if crowd { 1 } else { SCHEDULES });
    let searched = search(&mut arena, scenario, &options, args.seed, schedules).await;
    let (found, before) = match searched {
        Ok(None) => {
            arena.stop().await.map_err(left)?;
            return nothing(args, scenario, &options, schedules, began.elapsed().as_secs_f64());
        }
        Ok(Some(found)) => (found.0, found.1),
        Err(error) => return Err(failure(error)),
    };
    let orders = found.number + 1;
    arena.stop().await.map_err(left)?;
    report(args, &options, &found, before, (orders, began.elapsed().as_secs_f64()))
}

fn nothing(
    args: &RaceArgs,
    scenario: &Scenario,
    options: &Options,
    schedules: u64,
    seconds: f64,
) -> Result<(), Failure> {
    match args.output {
        Output::Json => printer::json(&json!({
            "scenario": scenario.name, "live": true, "options": options, "schedules": schedules,
            "seconds": seconds, "failure": null,
        })),
        Output::Text => printer::data(&format!(
            "{}: {schedules} schedules with real processes and {} agents break no rule ({seconds:.2} s)",
            scenario.name, options.agents
        )),
    }
    Ok(())
}

/// What agents are, if they are programs.
fn programs(args: &RaceAgentArgs) -> Result<Option<AgentProgram>, Failure> {
    let Some(text) = &args.image else { return Ok(None) };
    let choice: ImageChoice = text.parse()?;
    if choice.component != Component::Plexd {
        return Err(Failure::new(
            USAGE,
            format!("a race runs plexd as a program, and no {}", choice.component),
        ));
    }
    let program = match choice.source {
        ImageSource::Bin(path) => (path, Vec::new()),
        ImageSource::StandIn => ("/proc/self/exe".into(), vec![FIXTURE_ARGUMENT.into(), "plexd".into()]),
        other => return Err(Failure::new(USAGE, format!("`{other}` is no program of this machine"))),
    };
    Ok(Some(AgentProgram { program, generation: choices::agent(args.agent.as_deref())? }))
}

async fn arena(scenario: &Scenario, options: &Options, agents: &RaceAgentArgs) -> Result<Arena, Failure> {
    let agents = programs(agents)?;
    let spec = play::arena(scenario, options).map_err(failure)?;
    Arena::start(spec, agents, &choices::paths()?).await.map_err(failure)
}

/// The first schedule that breaks a rule, shortened, and how long it was before.
async fn search(
    arena: &mut Arena,
    scenario: &Scenario,
    options: &Options,
    seed: u64,
    schedules: u64,
) -> Result<Option<(Capsule, usize)>, LiveError> {
    for number in 0..schedules {
        let played = play::play(arena, scenario, options, (seed, number)).await?;
        let violations = checkers::check(&played.history);
        if violations.is_empty() {
            continue;
        }
        let before = texts(&played.schedule).len();
        if play::is_crowd(scenario, options) {
            let capsule = played.capsule(arena, scenario, options, (seed, number)).await?;
            return Ok(Some((capsule, before)));
        }
        let (small, shown) = play::minimise(arena, scenario, options, &played.schedule, &violations).await?;
        let capsule = if !checkers::check(&shown.history).is_empty() {
            shown.capsule(arena, scenario, &small, (seed, number)).await?
        } else {
            // It does not come every time: the whole of it is the better report.
            played.capsule(arena, scenario, options, (seed, number)).await?
        };
        return Ok(Some((capsule, before)));
    }
    Ok(None)
}

/// All mutants that a real control plane can be, each in its scenario.
async fn judge_mutants(args: &RaceArgs) -> Result<(), Failure> {
    let schedules = args.schedules.unwrap_or(MUTANT_SCHEDULES);
    let mut rows = Vec::new();
    let mut left_out = Vec::new();
    for mutant in MUTANTS {
        let Some((scenario, options)) = mutant.world() else { continue };
        if let Some(why) = mutant.not_live() {
            if args.output == Output::Text {
                printer::data(&format!("not live  {:<26}  {why}", mutant.name()));
            }
            left_out.push(json!({"mutant": mutant.name(), "why": why}));
            continue;
        }
        let began = Instant::now();
        let mut arena = arena(scenario, &options, &args.agents_are).await?;
        let found = search(&mut arena, scenario, &options, args.seed, schedules).await.map_err(failure)?;
        arena.stop().await.map_err(left)?;
        let seconds = began.elapsed().as_secs_f64();
        if args.output == Output::Text {
            printer::data(&match &found {
                None => format!("SURVIVED  {:<26}  {}", mutant.name(), scenario.name),
                Some((capsule, before)) => format!(
                    "  caught  {:<26}  {:<16}  schedule {:<4} {} in {} steps of {before} ({seconds:.1} s)",
                    mutant.name(),
                    scenario.name,
                    capsule.number,
                    capsule.violations.first().map_or("", |violation| violation.rule.as_str()),
                    texts(&capsule.schedule).len(),
                ),
            });
        }
        if let Some((capsule, _)) = &found {
            let path = args.reports.join(format!("live-mutant-{}.json", mutant.name()));
            write(&path, &capsule.text())?;
        }
        rows.push(json!({
            "mutant": mutant.name(), "scenario": scenario.name, "caught": found.is_some(), "seconds": seconds,
            "schedule": found.as_ref().map(|(capsule, _)| capsule.number),
            "steps": found.as_ref().map(|(capsule, _)| texts(&capsule.schedule).len()),
        }));
    }
    let caught = rows.iter().filter(|row| row["caught"] == true).count();
    match args.output {
        Output::Json => printer::json(&json!({
            "live": true, "caught": caught, "mutants": rows, "left_out": left_out,
        })),
        Output::Text => {
            printer::data(&format!("{caught} of {} mutants with real processes caught", rows.len()));
        }
    }
    if caught == rows.len() { Ok(()) } else { Err(Failure::silent(FAILED)) }
}

/// Plays a capsule of a live race again, and shortens it when that is asked for.
pub async fn repro(args: &ReproArgs, capsule: Capsule) -> Result<(), Failure> {
    tokio::select! {
        outcome = reproduce(args, capsule) => outcome,
        () = interrupted() => Err(Failure::new(FAILED, "interrupted; nothing is left running")),
    }
}

async fn reproduce(args: &ReproArgs, capsule: Capsule) -> Result<(), Failure> {
    let scenario = capsule.scenario().map_err(|error| refused(&args.file, &error))?;
    play::arena(scenario, &capsule.options).map_err(failure)?;
    let programs = capsule.live.as_ref().is_some_and(|live| live.digests.contains_key("plexd"));
    if programs && args.agents_are.image.is_none() {
        return Err(Failure::new(USAGE, "its agents were programs: say which program they are now")
            .help("--image plexd=stand-in, or --image plexd=bin:PATH"));
    }
    let mut arena = arena(scenario, &capsule.options, &args.agents_are).await?;
    let of = args.times.unwrap_or(TIMES);
    let times = play::reproduce(&mut arena, scenario, &capsule, of).await.map_err(failure)?;
    let word = match times {
        0 => "not-reproduced",
        times if times == of && capsule.violations.is_empty() => "nothing-broken",
        times if times == of => "reproduced",
        _ => "reproduced-sometimes",
    };
    let crowd = play::is_crowd(scenario, &capsule.options);
    let shown = if args.minimise && times > 0 && !crowd {
        let Capsule { options, schedule, violations, .. } = &capsule;
        let shrunk = play::minimise(&mut arena, scenario, options, schedule, violations).await;
        let (options, small) = shrunk.map_err(failure)?;
        let numbers = (capsule.seed, capsule.number);
        let small = small.capsule(&arena, scenario, &options, numbers).await.map_err(failure)?;
        let path = args.file.with_extension("min.json");
        write(&path, &small.text())?;
        printer::say(&format!("{} steps are left: {}", texts(&small.schedule).len(), path.display()));
        small
    } else {
        capsule
    };
    let digests = arena.digests().clone();
    arena.stop().await.map_err(left)?;
    let kept = shown.live.as_ref().map(|live| &live.digests);
    let differs: Vec<&str> = digests
        .iter()
        .filter(|(name, digest)| {
            kept.is_some_and(|kept| kept.get(*name).is_some_and(|other| other != *digest))
        })
        .map(|(name, _)| name.as_str())
        .collect();
    match args.output {
        Output::Json => printer::json(&json!({
            "verdict": word, "times": times, "of": of, "programs_differ": differs,
            "violations": shown.violations, "schedule": texts(&shown.schedule),
        })),
        Output::Text => {
            printer::data(&match times {
                0 => format!("not reproduced: 0 of {of}"),
                times => format!("reproduced with real processes: {times} of {of}"),
            });
            if !differs.is_empty() {
                printer::data(&format!(
                    "  environment differs: other programs than then: {}",
                    differs.join(", ")
                ));
            }
            for violation in &shown.violations {
                printer::data(&format!("  {}: {}", violation.rule, violation.what));
            }
            printer::data(&format!("  schedule: {}", texts(&shown.schedule).join(", ")));
        }
    }
    if times == of { Ok(()) } else { Err(Failure::silent(FAILED)) }
}

fn failure(error: LiveError) -> Failure {
    match error {
        LiveError::TooMany(_) => {
            Failure::new(USAGE, error.to_string()).help("without --live it is played in memory")
        }
        LiveError::Bare(_) => Failure::new(STACK, error.to_string()).help("cargo xtask doctor"),
        _ => Failure::new(STACK, format!("hold a race with real processes: {error}")),
    }
}

fn left(error: std::io::Error) -> Failure {
    Failure::new(FAILED, format!("remove the race's directory: {error}"))
}
