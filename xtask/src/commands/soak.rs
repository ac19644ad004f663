//! `soak`: races with faults and scenarios that break things, chosen at random, for as long as wanted; a capsule for
//! each failure.
//!
//! Each play is a process of its own with a stack of its own: a race starts its two processes, a scenario forks a stack
//! that was saved when the soak began ([`super::soak_base`]), unless it needs another kind. What is played is drawn from the seed, so that a soak can be
//! repeated; how far it comes depends on the machine.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use plexlab_harness::paths::create_private_dir;
use plexlab_harness::progress::Progress;
use plexlab_race::scenario::{SCENARIOS as RACES, Scenario as Race};
use plexlab_race::sim::random::Random;
use plexlab_scenarios::live::play as live;
use plexlab_scenarios::registry::SCENARIOS;
use serde_json::json;
use tokio_util::sync::CancellationToken;

use super::interrupt::interrupted;
use super::soak_base::Bases;
use super::{child, choices};
use crate::cli::{Output, SoakArgs};
use crate::exit::{FAILED, Failure, NOTHING_RAN};
use crate::printer;

/// Schedules of one live race: some seconds.
const SCHEDULES: u64 = 20;
/// One play in so many is a scenario; the others are races, which search more orders in the same time.
const SCENARIO_EVERY: usize = 4;
/// How often progress is told.
const PROGRESS_EVERY: Duration = Duration::from_secs(10);

/// What is played.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Play {
    /// For people.
    name: String,
    arguments: Vec<String>,
    reports: PathBuf,
}

/// How a play ended.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Ended {
    Passed,
    /// Its capsules, if it left some.
    Failed(Vec<PathBuf>),
    /// No stack came up, or nothing could be played.
    NotPlayed(String),
    Stopped,
}

#[derive(Debug, Default)]
struct Tally {
    passed: u64,
    failed: BTreeMap<String, Vec<PathBuf>>,
    not_played: BTreeMap<String, String>,
}

/// Runs the command.
pub async fn run(args: SoakArgs) -> Result<(), Failure> {
    let reports = std::path::absolute(&args.reports).unwrap_or_else(|_| args.reports.clone()).join("soak");
    let stop = CancellationToken::new();
    let mut random = Random::new(args.seed);
    let (mut tally, mut next) = (Tally::default(), 0_u64);
    let stopped = interrupted();
    tokio::pin!(stopped);
    let (paths, silent) = (choices::paths()?, Progress::silent());
    let bases = tokio::select! {
        made = Bases::make(&paths, &silent) => made?,
        () = &mut stopped => return Err(Failure::new(FAILED, "interrupted; nothing was played")),
    };
    let began = Instant::now();
    let (mut playing, mut names) = (FuturesUnordered::new(), BTreeSet::new());
    let mut progress = tokio::time::interval(PROGRESS_EVERY);
    progress.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        while playing.len() < args.stacks && began.elapsed() < args.duration && !stop.is_cancelled() {
            let play = draw(&mut random, next, &reports, &bases);
            next += 1;
            names.insert(play.name.clone());
            let stop = stop.clone();
            playing.push(async move { (play.name.clone(), played(&play, &stop).await) });
        }
        tokio::select! {
            ended = playing.next() => match ended {
                None => break,
                Some((name, ended)) => {
                    names.remove(&name);
                    tally.count(name, ended, args.output);
                }
            },
            _ = progress.tick() => tell(&args, &tally, began.elapsed(), &names),
            () = &mut stopped, if !stop.is_cancelled() => stop.cancel(),
        }
    }
    finish(&args, &tally, began.elapsed())
}

impl Tally {
    fn count(&mut self, name: String, ended: Ended, output: Output) {
        match ended {
            Ended::Passed => self.passed += 1,
            Ended::Stopped => {}
            Ended::NotPlayed(why) => {
                self.not_played.insert(name, why);
            }
            Ended::Failed(capsules) => {
                if output == Output::Text {
                    let capsules: Vec<String> =
                        capsules.iter().map(|path| path.display().to_string()).collect();
                    printer::data(&format!("FAILED  {name}: {}", capsules.join(", ")));
                }
                self.failed.insert(name, capsules);
            }
        }
    }
}

fn tell(args: &SoakArgs, tally: &Tally, elapsed: Duration, playing: &BTreeSet<String>) {
    if args.output == Output::Text {
        printer::say(&format!(
            "{:>5} of {} s: {} passed, {} failed, {} not played; now {}",
            elapsed.as_secs(),
            args.duration.as_secs(),
            tally.passed,
            tally.failed.len(),
            tally.not_played.len(),
            playing.iter().map(String::as_str).collect::<Vec<_>>().join(", "),
        ));
    }
}

fn finish(args: &SoakArgs, tally: &Tally, elapsed: Duration) -> Result<(), Failure> {
    match args.output {
        Output::Json => printer::json(&json!({
            "seed": args.seed, "seconds": elapsed.as_secs_f64(), "passed": tally.passed,
            "failed": tally.failed, "not_played": tally.not_played,
        })),
        Output::Text => {
            printer::data(&format!(
                "soaked for {:.0} s with seed {}: {} passed, {} failed, {} not played",
                elapsed.as_secs_f64(),
                args.seed,
                tally.passed,
                tally.failed.len(),
                tally.not_played.len(),
            ));
            for (name, why) in &tally.not_played {
                printer::data(&format!("  not played: {name}: {why}"));
            }
        }
    }
    if !tally.failed.is_empty() {
        Err(Failure::silent(FAILED))
    } else if tally.passed == 0 {
        Err(Failure::new(NOTHING_RAN, "nothing was played to its end"))
    } else {
        Ok(())
    }
}

/// The races that have a live form.
fn races() -> impl Iterator<Item = &'static Race> {
    RACES.iter().filter(|race| live::arena(race, &race.options(1)).is_ok())
}

fn draw(random: &mut Random, number: u64, reports: &Path, bases: &Bases) -> Play {
    let reports = reports.join(format!("{number:05}"));
    let place = reports.display().to_string();
    if random.one_in(SCENARIO_EVERY) {
        let scenario = &SCENARIOS[random.below(SCENARIOS.len())];
        let mut arguments =
            ["run", "--scenario", scenario.name, "--reports", &place].map(str::to_owned).to_vec();
        let base = bases.of(scenario);
        arguments.extend(base.iter().flat_map(|base| ["--from".to_owned(), base.display().to_string()]));
        let fork = if base.is_some() { " on a fork" } else { "" };
        return Play { name: format!("{number:05} run {}{fork}", scenario.name), arguments, reports };
    }
    let races: Vec<_> = races().collect();
    let race = races[random.below(races.len())];
    let (faults, agents) = (1 + random.below(3), 2 + random.below(4));
    let seed = random.draw() % 1_000_000;
    let numbers = [faults.to_string(), agents.to_string(), seed.to_string(), SCHEDULES.to_string()];
    let [faults, agents, seed, schedules] = &numbers;
    let arguments = [
        "race",
        race.name,
        "--live",
        "--faults",
        faults,
        "--agents",
        agents,
        "--seed",
        seed,
        "--schedules",
        schedules,
        "--reports",
        &place,
    ];
    Play {
        name: format!("{number:05} race {} --faults {faults} --agents {agents} --seed {seed}", race.name),
        arguments: arguments.map(str::to_owned).to_vec(),
        reports,
    }
}

async fn played(play: &Play, stop: &CancellationToken) -> Ended {
    let errors = play.reports.join("errors.txt");
    let file = create_private_dir(&play.reports).and_then(|()| std::fs::File::create(&errors));
    let file = match file {
        Ok(file) => Stdio::from(file),
        Err(error) => return Ended::NotPlayed(format!("use {}: {error}", play.reports.display())),
    };
    let arguments = play.arguments.iter().map(OsString::from);
    let ended = match child::run(arguments, file, stop).await {
        Ok(ended) => ended,
        Err(error) => return Ended::NotPlayed(error.to_string()),
    };
    if stop.is_cancelled() {
        return Ended::Stopped;
    }
    let code = ended.status.code().and_then(|code| u8::try_from(code).ok());
    match code {
        Some(0) => {
            // Reports of what passed are of no use, and there will be many.
            let _ = std::fs::remove_dir_all(&play.reports);
            Ended::Passed
        }
        Some(FAILED) => Ended::Failed(capsules(&play.reports)),
        Some(NOTHING_RAN) => Ended::NotPlayed("it cannot be played here".to_owned()),
        _ => {
            let said = std::fs::read_to_string(&errors).unwrap_or_default();
            let last = said.lines().rfind(|line| line.starts_with("error")).unwrap_or_default();
            Ended::NotPlayed(format!("{}: {last}", ended.shown()))
        }
    }
}

/// The capsules in a directory of reports.
fn capsules(reports: &Path) -> Vec<PathBuf> {
    let (mut found, mut pending) = (Vec::new(), vec![reports.to_owned()]);
    while let Some(directory) = pending.pop() {
        for entry in std::fs::read_dir(directory).into_iter().flatten().filter_map(Result::ok) {
            let (path, name) = (entry.path(), entry.file_name().to_string_lossy().into_owned());
            if path.is_dir() {
                pending.push(path);
            } else if name == "capsule.json" || name.starts_with("live-race-") {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_draws_the_same_plays_races_and_scenarios_both() {
        let drawn = |seed| {
            let mut random = Random::new(seed);
            (0..40)
                .map(|number| draw(&mut random, number, Path::new("/r"), &Bases::default()))
                .collect::<Vec<_>>()
        };
        assert_eq!(drawn(7), drawn(7));
        assert_ne!(drawn(7), drawn(8));
        let scenarios = drawn(7).iter().filter(|play| play.arguments[0] == "run").count();
        assert!((1..30).contains(&scenarios), "{scenarios}");
        assert!(races().count() >= 4);
    }
}
