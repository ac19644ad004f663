//! Plays all cases, some at once, and those that failed again; keeps how each ended.

use std::collections::BTreeMap;
use std::time::Instant;

use futures::stream::{self, StreamExt as _};
use plexlab_harness::report::outcome::{Again, Outcomes, ScenarioOutcome, Verdict};
use plexlab_harness::report::summary;
use plexlab_harness::run::rounded;
use plexlab_scenarios::runner::named;
use tokio_util::sync::CancellationToken;

use crate::cli::{Output, RunArgs};
use crate::commands::run::jobs::{End, Player};
use crate::commands::run::selection::Case;
use crate::exit::Failure;
use crate::printer;

/// So many stacks in a row that do not come up end a run: then it is the machine, and none will.
const HOPELESS: usize = 2;

/// One play of one case: its repetition, from 1, and its index among the cases. In this order reports have them.
type Turn = (u32, usize);

/// The play of all cases.
pub struct Playing<'p> {
    cases: &'p [Case],
    player: &'p Player<'p>,
    args: &'p RunArgs,
    stop: &'p CancellationToken,
    begun: Instant,
    ended: BTreeMap<Turn, ScenarioOutcome>,
}

impl<'p> Playing<'p> {
    /// Nothing is played yet. Once `stop` is cancelled nothing begins, and what is being played stops.
    pub fn new(
        cases: &'p [Case],
        player: &'p Player<'p>,
        args: &'p RunArgs,
        stop: &'p CancellationToken,
    ) -> Self {
        Self { cases, player, args, stop, begun: Instant::now(), ended: BTreeMap::new() }
    }

    /// What ended so far.
    pub fn outcomes(self) -> Outcomes {
        Outcomes { scenarios: self.ended.into_values().collect(), seconds: rounded(self.begun.elapsed()) }
    }

    /// Plays all, then those that failed once more, if that was asked for.
    ///
    /// # Errors
    /// When a stack does not come up. The others are played all the same, unless none has come up before, or
    /// [`HOPELESS`] in a row do not.
    pub async fn all(&mut self) -> Result<(), Failure> {
        let repetitions = 1..=self.args.repeat;
        let turns: Vec<Turn> = repetitions
            .flat_map(|repetition| (0..self.cases.len()).map(move |index| (repetition, index)))
            .collect();
        self.first(&turns).await?;
        if let Some(times) = self.args.rerun_failed {
            self.again(times).await?;
        }
        Ok(())
    }

    async fn first(&mut self, turns: &[Turn]) -> Result<(), Failure> {
        // Told when nothing more is to begin; what is being played goes on.
        let enough = CancellationToken::new();
        let mut why_enough: Option<String> = None;
        let (player, cases, stop) = (self.player, self.cases, self.stop);
        let plays = stream::iter(turns.iter().copied()).map(|(repetition, index)| {
            let enough = enough.clone();
            async move {
                let begins = !enough.is_cancelled() && !stop.is_cancelled();
                let end =
                    if begins { player.play(cases, index, repetition, stop).await } else { End::Stopped };
                ((repetition, index), end)
            }
        });
        let mut plays = std::pin::pin!(plays.buffer_unordered(self.args.jobs));
        let mut error = None;
        let mut in_a_row = 0;
        let mut came_up = false;
        while let Some((turn, end)) = plays.next().await {
            match end {
                End::Played(outcome) => {
                    (in_a_row, came_up) = (0, true);
                    if matches!(outcome.verdict, Verdict::Failed { .. }) && self.args.fail_fast {
                        enough.cancel();
                        let why = || format!("not played: {} failed before (--fail-fast)", outcome.title());
                        why_enough.get_or_insert_with(why);
                    }
                    self.ends(turn, *outcome);
                }
                End::Stopped => {}
                End::Error { code, text, help } => {
                    in_a_row += 1;
                    if !came_up || in_a_row >= HOPELESS || self.args.fail_fast {
                        enough.cancel();
                    }
                    // Before the first, what is wrong is all that there is to tell.
                    if came_up {
                        let reason = format!("no stack came up: {text}");
                        self.ends(turn, not_played(&self.cases[turn.1], turn.0, &reason));
                        if enough.is_cancelled() {
                            why_enough.get_or_insert_with(|| "not played: no stack came up".to_owned());
                        }
                    }
                    error.get_or_insert(Failure { code, text, help });
                }
            }
        }
        if let (Some(reason), false) = (why_enough, self.stop.is_cancelled()) {
            for turn in turns {
                if !self.ended.contains_key(turn) {
                    self.ends(*turn, not_played(&self.cases[turn.1], turn.0, &reason));
                }
            }
        }
        error.map_or(Ok(()), Err)
    }

    /// Plays what failed so many times more.
    async fn again(&mut self, times: u32) -> Result<(), Failure> {
        let is_failed = |outcome: &ScenarioOutcome| matches!(outcome.verdict, Verdict::Failed { .. });
        let failed = self.ended.iter().filter(|(_, outcome)| is_failed(outcome));
        let mut again: BTreeMap<Turn, Again> =
            failed.map(|(turn, _)| (*turn, Again { passed: 0, failures: Vec::new() })).collect();
        // Numbers that no other play has: they are in the names of the evidence's directories.
        let turns = again.keys().flat_map(|turn| (1..=times).map(move |time| (*turn, time)));
        let turns: Vec<(Turn, u32)> =
            turns.zip(self.args.repeat + 1..).map(|((turn, _), number)| (turn, number)).collect();
        let (player, cases, stop) = (self.player, self.cases, self.stop);
        let plays = stream::iter(turns).map(|(turn, number)| async move {
            let end = if stop.is_cancelled() {
                End::Stopped
            } else {
                player.play(cases, turn.1, number, stop).await
            };
            (turn, end)
        });
        let mut plays = std::pin::pin!(plays.buffered(self.args.jobs));
        let mut error = None;
        while let Some((turn, end)) = plays.next().await {
            let Some(again) = again.get_mut(&turn) else { continue };
            match end {
                End::Played(outcome) => match outcome.verdict {
                    Verdict::Passed => again.passed += 1,
                    Verdict::Failed { failure, .. } => again.failures.push(failure),
                    Verdict::Skipped { .. } => {}
                },
                End::Stopped => {}
                End::Error { code, text, help } => {
                    error.get_or_insert(Failure { code, text, help });
                }
            }
        }
        for (turn, again) in again.into_iter().filter(|(_, again)| again.played() > 0) {
            if let Some(outcome) = self.ended.get_mut(&turn) {
                outcome.again = Some(again);
            }
            if let Some(outcome) = self.ended.get(&turn) {
                self.show(outcome);
            }
        }
        error.map_or(Ok(()), Err)
    }

    fn ends(&mut self, turn: Turn, outcome: ScenarioOutcome) {
        self.show(&outcome);
        self.ended.insert(turn, outcome);
    }

    fn show(&self, outcome: &ScenarioOutcome) {
        if self.args.output == Output::Text {
            printer::data(&summary::line(outcome));
        }
        if let (Verdict::Failed { failure, .. }, None) = (&outcome.verdict, &outcome.again) {
            printer::say(&format!("          {failure}"));
        }
    }
}

fn not_played(case: &Case, repetition: u32, reason: &str) -> ScenarioOutcome {
    ScenarioOutcome {
        scenario: named(case.scenario, case.keeper),
        repetition,
        verdict: Verdict::Skipped { reason: reason.to_owned() },
        seconds: 0.0,
        stack_seconds: 0.0,
        steps: Vec::new(),
        again: None,
        timeline: Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;
    use plexlab_harness::run::Failure as Claim;

    use super::*;
    use crate::cli::{Cli, Command};
    use crate::commands::run::selection::cases;
    use crate::exit::STACK;

    /// Plays the first three scenarios; those for which `fails` says so fail.
    fn played(arguments: &[&str], fails: impl Fn(usize, u32) -> bool) -> Outcomes {
        let (outcomes, ended) = tried(arguments, fails, |_| false);
        ended.unwrap();
        outcomes
    }

    /// The same, and of those for which `has_none` says so no stack comes up.
    fn tried(
        arguments: &[&str],
        fails: impl Fn(usize, u32) -> bool,
        has_none: impl Fn(usize) -> bool,
    ) -> (Outcomes, Result<(), Failure>) {
        let all = ["xtask", "run", "-o", "json"].iter().chain(arguments);
        let Command::Run(args) = Cli::try_parse_from(all).unwrap().command else { panic!("not run") };
        let mut cases = cases(&args).unwrap();
        cases.truncate(3);
        let script = |index: usize, repetition: u32| {
            if has_none(index) {
                return Failure::new(STACK, "no nodes").into();
            }
            let mut outcome = not_played(&cases[index], repetition, "");
            let failed = || Verdict::Failed {
                failure: Claim::expected("a pass", "none"),
                rerun: String::new(),
                evidence: None,
            };
            outcome.verdict = if fails(index, repetition) { failed() } else { Verdict::Passed };
            End::Played(Box::new(outcome))
        };
        let (player, stop) = (Player::Scripted(&script), CancellationToken::new());
        let mut playing = Playing::new(&cases, &player, &args, &stop);
        let ended = futures::executor::block_on(playing.all());
        (playing.outcomes(), ended)
    }

    #[test]
    fn a_stack_that_does_not_come_up_is_told_and_ends_the_run_when_there_is_no_hope() {
        let lines = |arguments: &[&str], has_none: &[usize]| {
            let (outcomes, ended) = tried(arguments, |_, _| false, |index| has_none.contains(&index));
            let failure = ended.unwrap_err();
            assert_eq!((failure.code, failure.text.as_str()), (STACK, "no nodes"));
            outcomes.scenarios.iter().map(summary::line).collect::<Vec<String>>()
        };
        let told = |lines: &[String], expected: &[&str]| {
            assert_eq!(lines.len(), expected.len(), "{lines:#?}");
            for (line, words) in lines.iter().zip(expected) {
                assert!(
                    line.starts_with("  passed") == words.is_empty() && line.contains(words),
                    "{lines:#?}"
                );
            }
        };
        let (one, rest) = ("no stack came up: no nodes", "not played: no stack came up");
        told(&lines(&[], &[1]), &["", one, ""]);
        told(&lines(&[], &[1, 2]), &["", one, one]);
        told(&lines(&["--repeat", "2"], &[1, 2]), &["", one, one, rest, rest, rest]);
        told(&lines(&["--fail-fast"], &[1]), &["", one, rest]);
        assert_eq!(lines(&[], &[0]), Vec::<String>::new(), "the error says it");
    }

    #[test]
    fn what_fails_is_played_again_and_told_from_what_is_flaky() {
        // The second scenario fails once, and then once more of three times; the third fails each time.
        let outcomes = played(&["--rerun-failed"], |index, time| match index {
            1 => time == 1 || time == 3,
            other => other == 2,
        });
        let again = |index: usize| outcomes.scenarios[index].again.as_ref().map(ToString::to_string);
        assert_eq!(again(0), None);
        assert_eq!(again(1).as_deref(), Some("flaky: passed 2 of 3"));
        assert_eq!(again(2).as_deref(), Some("failed each time of 3 more"));
        assert_eq!((outcomes.failed(), outcomes.flaky(), outcomes.passed()), (2, 1, 1));
    }

    #[test]
    fn after_a_failure_the_rest_is_skipped_with_the_reason() {
        let outcomes = played(&["--fail-fast", "--repeat", "2"], |index, _| index == 1);
        let words: Vec<String> = outcomes.scenarios.iter().map(summary::line).collect();
        let begins = ["  passed", "  FAILED", " skipped", " skipped", " skipped", " skipped"];
        assert_eq!(words.len(), begins.len());
        for (line, begin) in words.iter().zip(begins) {
            assert!(line.starts_with(begin), "{words:#?}");
        }
        assert!(words[2].contains("failed before (--fail-fast)"), "{words:#?}");
    }

    #[test]
    fn reports_have_one_repetition_after_the_other_in_the_registrys_order() {
        let outcomes = played(&["--repeat", "2", "--jobs", "3"], |_, _| false);
        let titles: Vec<String> = outcomes.scenarios.iter().map(ScenarioOutcome::title).collect();
        assert_eq!(titles[3], format!("{} #2", titles[0]));
        assert_eq!(titles[5], format!("{} #2", titles[2]));
    }
}
