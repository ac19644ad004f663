//! Plays one scenario: in this process, or, when several are to be played at once, in a child.
//!
//! A child is this program with this command's own arguments and `--case`, which says what to play; its end is one line
//! of JSON on its standard output. What a stack complains about and what it leaves behind are found by process, so
//! stacks that live at the same time are held by different ones.

use std::process::Stdio;

use plexlab_harness::progress::Progress;
use plexlab_harness::report::outcome::ScenarioOutcome;
use plexlab_scenarios::runner::{Options, play};
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

use crate::commands::child;
use crate::commands::run::selection::Case;
use crate::exit::{Failure, PREREQUISITE, STACK};

/// How the play of a scenario ended.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum End {
    /// It was played.
    Played(Box<ScenarioOutcome>),
    /// It was told to stop before its end.
    Stopped,
    /// No stack came up, so that no scenario is to blame.
    Error {
        /// Exit code.
        code: u8,
        /// Why.
        text: String,
        /// What to do next.
        help: Option<String>,
    },
}

impl From<Failure> for End {
    fn from(Failure { code, text, help }: Failure) -> Self {
        Self::Error { code, text, help }
    }
}

/// Where scenarios are played.
pub enum Player<'o> {
    /// In this process: one at a time.
    Here(&'o Options),
    /// In children.
    Children,
    /// Nowhere: for tests, which say how each play ends.
    #[cfg(test)]
    Scripted(&'o dyn Fn(usize, u32) -> End),
}

impl Player<'_> {
    /// Plays the case with this index, and takes its stack down when it is told to stop.
    pub async fn play(&self, cases: &[Case], index: usize, repetition: u32, stop: &CancellationToken) -> End {
        match self {
            Player::Here(options) => {
                let Some(Case { scenario, keeper }) = cases.get(index).copied() else {
                    return Failure::new(PREREQUISITE, format!("there is no case {index}")).into();
                };
                let silent = Progress::silent();
                tokio::select! {
                    played = play(scenario, keeper, repetition, options, &silent) => match played {
                        Ok(outcome) => End::Played(Box::new(outcome)),
                        Err(error) => Failure::from(error).into(),
                    },
                    () = stop.cancelled() => End::Stopped,
                }
            }
            #[cfg(test)]
            Player::Scripted(script) => script(index, repetition),
            Player::Children => match in_child(index, repetition, stop).await {
                Ok(end) => end,
                Err(error) => {
                    let what = format!("play a scenario in a process of its own: {error}");
                    Failure::new(PREREQUISITE, what).help("`--jobs 1` needs none").into()
                }
            },
        }
    }
}

/// Starts a child and hears how it ended.
async fn in_child(index: usize, repetition: u32, stop: &CancellationToken) -> std::io::Result<End> {
    let own = std::env::args_os().skip(1);
    let ended =
        child::run(own.chain([format!("--case={index}/{repetition}").into()]), Stdio::inherit(), stop)
            .await?;
    match serde_json::from_slice(&ended.said) {
        Ok(end) => Ok(end),
        Err(_) if stop.is_cancelled() => Ok(End::Stopped),
        Err(_) => {
            let shown = ended.shown();
            let what = format!("the process of case {index} ended with {shown} before its scenario did");
            Ok(Failure::new(STACK, what).help("`--jobs 1` plays all in one process").into())
        }
    }
}
