//! `timeline`: what happened in a race or in the run of a scenario, for a terminal or as a page.

use std::collections::BTreeMap;

use plexlab_harness::report::outcome::{ScenarioOutcome, Verdict};
use plexlab_harness::run::Failure as Broken;
use plexlab_harness::timeline::{Entry, Source};
use plexlab_race::timeline::{Line, Story, page, text};
use plexlab_scenarios::evidence::{LARGEST, RunCapsule};
use serde::Deserialize;

use super::race::write;
use super::repro::{capsule, read, refused};
use crate::cli::TimelineArgs;
use crate::exit::{Failure, USAGE};
use crate::printer;

/// Runs `timeline`.
pub fn run(args: &TimelineArgs) -> Result<(), Failure> {
    let story = story(args)?;
    match &args.html {
        Some(path) => {
            write(path, &page(&story))?;
            printer::data(&path.display().to_string());
        }
        None => printer::data(text(&story).trim_end()),
    }
    Ok(())
}

/// As much of a report as is told.
#[derive(Deserialize)]
struct Report {
    scenarios: Vec<ScenarioOutcome>,
}

fn story(args: &TimelineArgs) -> Result<Story, Failure> {
    let found = read(&args.file, LARGEST.max(64 << 20))?;
    if RunCapsule::is_one(&found) {
        let run = RunCapsule::read(&found).map_err(|error| refused(&args.file, &error))?;
        return Ok(of_capsule(&run));
    }
    match serde_json::from_str::<Report>(&found) {
        Ok(report) => of_report(args, &report),
        Err(_) => Ok(Story::from(&capsule(&args.file, &found)?)),
    }
}

fn of_report(args: &TimelineArgs, report: &Report) -> Result<Story, Failure> {
    let played = |outcome: &&ScenarioOutcome| !matches!(outcome.verdict, Verdict::Skipped { .. });
    let all: Vec<&ScenarioOutcome> = report.scenarios.iter().filter(played).collect();
    let wanted =
        |outcome: &&&ScenarioOutcome| args.scenario.as_ref().is_none_or(|name| *name == outcome.scenario);
    let mut fitting = all.iter().filter(wanted);
    match (fitting.next(), args.scenario.is_some() || fitting.next().is_none()) {
        (Some(outcome), true) => Ok(of_outcome(outcome)),
        _ => {
            let names: Vec<&str> = all.iter().map(|outcome| outcome.scenario.as_str()).collect();
            let text = format!("which scenario of {}? It has {}", args.file.display(), names.join(", "));
            Err(Failure::new(USAGE, text).help("--scenario NAME"))
        }
    }
}

fn of_outcome(outcome: &ScenarioOutcome) -> Story {
    let (verdict, failure) = match &outcome.verdict {
        Verdict::Passed => ("passed".to_owned(), None),
        Verdict::Failed { failure, .. } => ("failed".to_owned(), Some(failure)),
        Verdict::Skipped { reason } => (format!("skipped: {reason}"), None),
    };
    let facts = vec![
        ("Verdict".to_owned(), verdict),
        (
            "Seconds".to_owned(),
            format!("{:.1}, {:.1} of them for the stack", outcome.seconds, outcome.stack_seconds),
        ),
        ("Steps".to_owned(), outcome.steps.len().to_string()),
    ];
    told(&outcome.title(), facts, &outcome.timeline, failure)
}

fn of_capsule(run: &RunCapsule) -> Story {
    let facts = vec![
        ("Verdict".to_owned(), "failed".to_owned()),
        ("Backend".to_owned(), format!("{}, {} nodes, {}", run.backend, run.nodes, run.store)),
        ("Again".to_owned(), run.command.clone()),
    ];
    told(&run.scenario, facts, &run.timeline, Some(&run.failure))
}

fn told(title: &str, facts: Vec<(String, String)>, timeline: &[Entry], failure: Option<&Broken>) -> Story {
    let begin = timeline.first().map(|entry| entry.at);
    let mut lines: Vec<Line> = timeline
        .iter()
        .enumerate()
        .map(|(number, entry)| {
            let since = begin.map(|begin| entry.at.duration_since(begin).as_secs_f64()).unwrap_or_default();
            let (lane, what) = in_lane(entry);
            Line { number, lane, what, when: format!("{since:.3} s"), broken: Vec::new() }
        })
        .collect();
    if let Some(failure) = failure {
        let mark = |line: &mut Line| line.broken.push(failure.to_string());
        // Where its step says that it failed; else at the end.
        let at = lines.iter().rposition(|line| line.what.starts_with("failed: "));
        match at {
            Some(at) => mark(&mut lines[at]),
            None => lines.last_mut().into_iter().for_each(mark),
        }
    }
    Story { title: title.to_owned(), facts, wrong: "What failed".to_owned(), lines, schedule: Vec::new() }
}

/// Parties and servers have a lane each, all else one for its kind: a page has no room for a lane for each pod.
fn in_lane(entry: &Entry) -> (String, String) {
    let details: BTreeMap<&str, &str> =
        entry.fields.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    let of_many = |lane: &str| (lane.to_owned(), format!("{}: {}", entry.actor, entry.what));
    match entry.source {
        Source::Step => (entry.actor.clone(), entry.what.clone()),
        Source::Http => {
            let handle = details.get("handle").map(|handle| format!(" ({handle})")).unwrap_or_default();
            (format!("{} (HTTP)", entry.actor), format!("{}{handle}", entry.what))
        }
        Source::Stack => of_many("stack"),
        Source::Kubernetes => of_many("cluster"),
        Source::Row => ("database".to_owned(), entry.what.clone()),
        Source::Process => of_many("processes"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use plexlab_harness::timeline::Timeline;

    #[test]
    fn a_run_is_told_in_lanes_and_its_failure_stands_where_it_happened() {
        let timeline = Timeline::default();
        timeline.record(Source::Step, "owner", "look");
        timeline.record(Source::Step, "owner", "failed: in step \"look\": expected one, seen two");
        timeline.record(Source::Kubernetes, "pod a/b", "Killing");
        let failure = Broken { step: "look".to_owned(), ..Broken::expected("one", "two") };
        let story = told("x", Vec::new(), &timeline.entries(), Some(&failure));
        let lanes: Vec<&str> = story.lines.iter().map(|line| line.lane.as_str()).collect();
        assert_eq!(lanes, ["owner", "owner", "cluster"]);
        assert_eq!(story.lines[1].broken, ["in step \"look\": expected one, seen two"]);
        assert!(page(&story).contains("What failed: 1") && text(&story).contains("pod a/b: Killing"));
    }
}
