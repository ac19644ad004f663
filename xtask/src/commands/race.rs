//! `race`: searches for an order that breaks a rule, and keeps it in a capsule.

use std::path::Path;
use std::time::Instant;

use plexlab_race::capsule::Capsule;
use plexlab_race::explore::{Failure as Found, exhaust, search};
use plexlab_race::mutants::{self, MUTANTS};
use plexlab_race::scenario::{Options, SCENARIOS, Scenario, find};
use plexlab_race::sim::choice::Choice;
use plexlab_race::timeline::{Story, text};
use plexlab_race::turns::{self, texts};
use serde_json::json;

use crate::cli::{Output, RaceArgs};
use crate::exit::{FAILED, Failure, USAGE};
use crate::printer;
use crate::suggestion;

/// Runs the command.
pub fn run(args: &RaceArgs) -> Result<(), Failure> {
    if args.mutants {
        return judge_mutants(args);
    }
    let Some(name) = &args.scenario else {
        for scenario in SCENARIOS {
            printer::data(&format!("{:<16}  {}", scenario.name, scenario.summary));
        }
        return Ok(());
    };
    let (scenario, options) = chosen(args, name)?;
    if let Some(schedule) = given(args)? {
        let found = Found { number: 0, schedule, violations: Vec::new() };
        return keep(args, &Capsule::new(scenario, &options, args.seed, &found));
    }
    let began = Instant::now();
    let (orders, complete, found) = if args.exhaustive {
        let found = exhaust(scenario.start(&options), args.schedules.unwrap_or(1_000_000), true, &mut |_| {});
        let failure =
            found.failure.map(|(schedule, violations)| Found { number: found.orders, schedule, violations });
        (found.orders, found.complete, failure)
    } else {
        let schedules = args.schedules.unwrap_or(10_000);
        let found = search(scenario, &options, args.seed, schedules);
        (found.as_ref().map_or(schedules, |found| found.number + 1), false, found)
    };
    let seconds = began.elapsed().as_secs_f64();
    let kind = match (args.exhaustive, complete) {
        (true, true) => "orders, all that differ,",
        (true, false) => "orders, not all,",
        (false, _) => "schedules",
    };
    let Some(found) = found else {
        match args.output {
            Output::Json => printer::json(&json!({
                "scenario": scenario.name, "options": options, "schedules": orders,
                "complete": complete, "seconds": seconds, "failure": null,
            })),
            Output::Text => {
                printer::data(&format!("{}: {orders} {kind} break no rule ({seconds:.2} s)", scenario.name));
            }
        }
        return Ok(());
    };
    tell(args, scenario, &options, &found, (orders, seconds))
}

/// The schedule that is to be played, if one is given.
pub fn given(args: &RaceArgs) -> Result<Option<Vec<Choice>>, Failure> {
    let Some(text) = &args.schedule else { return Ok(None) };
    let steps = turns::steps(text.split(',').map(str::trim).filter(|step| !step.is_empty()));
    steps.map(Some).map_err(|error| Failure::new(USAGE, error.to_string()))
}

/// Writes the capsule of a schedule that was given, and says what came of it.
pub fn keep(args: &RaceArgs, capsule: &Capsule) -> Result<(), Failure> {
    let kind = if capsule.live.is_some() { "live-race" } else { "race" };
    let path = args.reports.join(format!("{kind}-{}-given.json", capsule.scenario));
    write(&path, &capsule.text())?;
    match args.output {
        Output::Json => printer::json(&json!({
            "scenario": capsule.scenario, "violations": capsule.violations, "capsule": path,
        })),
        Output::Text => {
            printer::data(text(&Story::from(capsule)).trim_end());
            printer::data(&format!("capsule: {}", path.display()));
        }
    }
    if capsule.violations.is_empty() { Ok(()) } else { Err(Failure::silent(FAILED)) }
}

/// The scenario of this name, at the size that was asked for.
pub fn chosen(args: &RaceArgs, name: &str) -> Result<(&'static Scenario, Options), Failure> {
    let scenario = find(name).ok_or_else(|| {
        let names = SCENARIOS.iter().map(|scenario| scenario.name);
        let failure = Failure::new(USAGE, format!("there is no race called {name:?}"));
        match suggestion::nearest(name, names) {
            Some(near) => failure.help(format!("did you mean {near}?")),
            None => failure.help("`cargo xtask race` lists them"),
        }
    })?;
    let mut options = scenario.options(args.faults);
    options.agents = args.agents.unwrap_or(scenario.agents).max(scenario.fewest);
    let given = given(args)?.map_or(0, |steps| steps.iter().filter(|step| step.is_fault()).count());
    options.faults = options.faults.max(u16::try_from(given).unwrap_or(u16::MAX));
    if let Some(name) = &args.mutant {
        let mutant = mutants::named(name).ok_or_else(|| {
            Failure::new(USAGE, format!("there is no mutant called {name:?}"))
                .help("`cargo xtask race --mutants` lists them")
        })?;
        options.defect = Some(mutant.defect);
        options.faults = options.faults.max(mutant.faults);
    }
    Ok((scenario, options))
}

/// Writes the capsules of a failure, and says so.
fn tell(
    args: &RaceArgs,
    scenario: &Scenario,
    options: &Options,
    found: &Found,
    (orders, seconds): (u64, f64),
) -> Result<(), Failure> {
    let whole = Capsule::new(scenario, options, args.seed, found);
    let small = whole.minimised().map_err(|error| Failure::new(FAILED, error.to_string()))?;
    report(args, options, &small, texts(&found.schedule).len(), (orders, seconds))
}

/// Writes a capsule, and says what it shows.
pub fn report(
    args: &RaceArgs,
    options: &Options,
    small: &Capsule,
    before: usize,
    (orders, seconds): (u64, f64),
) -> Result<(), Failure> {
    let kind = if small.live.is_some() { "live-race" } else { "race" };
    let path = args.reports.join(format!("{kind}-{}-{}-{}.json", small.scenario, small.seed, small.number));
    write(&path, &small.text())?;
    match args.output {
        Output::Json => printer::json(&json!({
            "scenario": small.scenario, "options": options, "schedules": orders, "seconds": seconds,
            "failure": {
                "violations": small.violations, "schedule": texts(&small.schedule), "capsule": path,
            },
        })),
        Output::Text => {
            printer::data(&format!(
                "{}: schedule {} breaks a rule ({seconds:.2} s)",
                small.scenario, small.number
            ));
            for violation in &small.violations {
                printer::data(&format!("  {}: {}", violation.rule, violation.what));
            }
            let steps = texts(&small.schedule);
            printer::data(&format!(
                "  in {} steps (of {}), with {} agents: {}",
                steps.len(),
                before,
                small.options.agents,
                steps.join(", ")
            ));
            printer::data(&format!("  capsule: {}", path.display()));
            printer::data(&format!("  again: cargo xtask repro {}", path.display()));
        }
    }
    Err(Failure::silent(FAILED))
}

/// Writes a report where the caller wanted it.
pub fn write(path: &Path, text: &str) -> Result<(), Failure> {
    let written =
        path.parent().map_or(Ok(()), std::fs::create_dir_all).and_then(|()| std::fs::write(path, text));
    written.map_err(|error| Failure::new(FAILED, format!("failed to write {}: {error}", path.display())))
}

/// All mutants, each in its scenario.
fn judge_mutants(args: &RaceArgs) -> Result<(), Failure> {
    let schedules = args.schedules.unwrap_or(500);
    let mut rows = Vec::new();
    for mutant in MUTANTS {
        let Some((scenario, options)) = mutant.world() else { continue };
        let found = search(scenario, &options, args.seed, schedules);
        let small = found.map(|found| Capsule::new(scenario, &options, args.seed, &found).minimised());
        let small = small.transpose().map_err(|error| Failure::new(FAILED, error.to_string()))?;
        let row = match &small {
            None => json!({"mutant": mutant.name(), "scenario": scenario.name, "caught": false}),
            Some(small) => json!({
                "mutant": mutant.name(), "scenario": scenario.name, "caught": true, "schedule": small.number,
                "rule": small.violations.first().map(|violation| &violation.rule),
                "steps": texts(&small.schedule).len(),
            }),
        };
        if args.output == Output::Text {
            printer::data(&match &small {
                None => format!("SURVIVED  {:<26}  {}", mutant.name(), scenario.name),
                Some(small) => format!(
                    "  caught  {:<26}  {:<16}  schedule {:<4} {} in {} steps",
                    mutant.name(),
                    scenario.name,
                    small.number,
                    small.violations.first().map_or("", |violation| violation.rule.as_str()),
                    texts(&small.schedule).len()
                ),
            });
        }
        rows.push(row);
    }
    let caught = rows.iter().filter(|row| row["caught"] == true).count();
    match args.output {
        Output::Json => printer::json(&json!({"caught": caught, "mutants": rows})),
        Output::Text => printer::data(&format!("{caught} of {} mutants caught", rows.len())),
    }
    if caught == rows.len() { Ok(()) } else { Err(Failure::silent(FAILED)) }
}
