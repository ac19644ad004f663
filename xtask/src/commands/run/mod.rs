//! `run`: plays scenarios, prints each with its time as it ends, writes the reports.

mod jobs;
mod played;
mod reports;
mod selection;

use plexlab_harness::machine::description::Machine;
use plexlab_harness::observe::complaints::DriverLog;
use plexlab_harness::report::{json, summary};
use plexlab_harness::stack::remains;
use plexlab_scenarios::runner::Options;
use tokio_util::sync::CancellationToken;

use crate::cli::{Output, RunArgs};
use crate::commands::choices;
use crate::commands::interrupt::interrupted;
use crate::commands::run::jobs::{End, Player};
use crate::commands::run::played::Playing;
use crate::commands::run::selection::{Case, cases};
use crate::exit::{FAILED, Failure, NOTHING_RAN};
use crate::printer;

pub async fn run(args: RunArgs) -> Result<(), Failure> {
    let cases = cases(&args)?;
    let (backend, images) = choices::backend(&args.backend)?;
    let reports = std::path::absolute(&args.reports).unwrap_or_else(|_| args.reports.clone());
    let options = Options {
        nodes: args.nodes,
        backend,
        options: choices::options(&args.backend),
        images,
        clouds: choices::clouds(&args.backend)?,
        paths: choices::paths()?,
        evidence: reports.join("evidence"),
        log: DriverLog::install().unwrap_or_default(),
        from: args.from.clone(),
    };
    if let Some((index, repetition)) = args.case {
        return play_for_parent(&cases, index, repetition, &options).await;
    }
    remains::remove_dead_runs(&options.paths).await;
    let player = if args.jobs == 1 { Player::Here(&options) } else { Player::Children };
    let stop = CancellationToken::new();
    let mut playing = Playing::new(&cases, &player, &args, &stop);
    let ended = {
        let all = playing.all();
        tokio::pin!(all);
        tokio::select! {
            ended = &mut all => ended,
            () = interrupted() => {
                stop.cancel();
                // Whoever asks again does not want to wait until stacks are taken down in order.
                tokio::select! {
                    ended = &mut all => ended,
                    () = interrupted() => Ok(()),
                }
            }
        }
    };
    let outcomes = playing.outcomes();
    reports::write(&outcomes, &reports)?;
    reports::tell_github(&outcomes);
    match args.output {
        Output::Json => printer::json(&json::render(&outcomes, &Machine::read())),
        Output::Text => printer::data(&summary::end(&outcomes)),
    }
    printer::say(&format!("reports: {}", reports.display()));
    if stop.is_cancelled() {
        remains::remove_dead_runs(&options.paths).await;
    }
    ended?;
    if stop.is_cancelled() {
        return Err(Failure::new(FAILED, "interrupted; the reports hold what was played to its end"));
    }
    if outcomes.failed() > 0 {
        Err(Failure::silent(FAILED))
    } else if outcomes.passed() == 0 {
        Err(Failure::new(NOTHING_RAN, "nothing ran: every scenario was skipped"))
    } else {
        Ok(())
    }
}

/// What a child of `--jobs` does: one case, whose end is one line of JSON.
async fn play_for_parent(
    cases: &[Case],
    index: usize,
    repetition: u32,
    options: &Options,
) -> Result<(), Failure> {
    let stop = CancellationToken::new();
    let player = Player::Here(options);
    let ended = {
        let playing = player.play(cases, index, repetition, &stop);
        tokio::pin!(playing);
        tokio::select! {
            ended = &mut playing => ended,
            () = interrupted() => {
                stop.cancel();
                playing.await
            }
        }
    };
    if matches!(ended, End::Stopped) {
        remains::remove_dead_runs(&options.paths).await;
    }
    printer::data(&serde_json::to_string(&ended).unwrap_or_default());
    Ok(())
}
