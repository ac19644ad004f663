//! The process that holds a stack: in the foreground, or detached behind `up`.
//!
//! Behind `up` it speaks one JSON document per line on standard output ([`Line`]) until the stack is ready. Its
//! standard input ends without [`DETACH`] when the `up` that started it dies; then it gives up as well.

use plexlab_harness::progress::{News, Progress};
use plexlab_harness::redact::Redactor;
use plexlab_harness::stack::control::ControlSocket;
use plexlab_harness::stack::record::StackRecord;
use plexlab_harness::stack::remains;
use plexlab_harness::stack::running::RunningStack;
use plexlab_harness::stack::start::{restore, start};
use plexlab_harness::timeline::Timeline;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt as _, BufReader};

use crate::cli::UpArgs;
use crate::commands::interrupt::interrupted;
use crate::commands::{choices, up};
use crate::exit::{FAILED, Failure, STACK};
use crate::printer;

/// What `up` writes when it has seen the stack become ready.
pub const DETACH: &str = "detach";

/// One line from the driver to `up`.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "line")]
pub enum Line {
    /// Progress.
    News(News),
    /// The stack is ready.
    Ready(Box<StackRecord>),
    /// It did not start.
    Failed {
        /// Exit code.
        code: u8,
        /// Why.
        text: String,
        /// What to do next.
        help: Option<String>,
    },
}

/// `up --foreground`.
pub async fn foreground(args: UpArgs) -> Result<(), Failure> {
    let progress = printer::progress();
    let stack = tokio::select! {
        stack = bring_up(&args, &progress) => stack?,
        () = interrupted() => return Err(given_up(&args, "interrupted while starting").await),
    };
    drop(progress);
    let record = record(&stack)?;
    up::announce(&args, &record, &choices::paths()?);
    printer::say("Ctrl-C takes it down");
    hold(&stack).await;
    stop(stack).await
}

/// The hidden `driver`.
pub async fn background(args: UpArgs) -> Result<(), Failure> {
    plexlab_lab::applet::init_logging();
    let progress = Progress::new(|news| tell(&Line::News(news)));
    let started = tokio::select! {
        started = bring_up(&args, &progress) => started,
        () = interrupted() => Err(given_up(&args, "interrupted while starting").await),
        () = abandoned() => Err(given_up(&args, "the command that started the stack is gone").await),
    };
    let ready = match started {
        Ok(stack) => record(&stack).map(|record| (stack, record)),
        Err(failure) => Err(failure),
    };
    match ready {
        Ok((stack, record)) => {
            {
                let holding = hold(&stack);
                tokio::pin!(holding);
                // Once, so that the socket is there before anybody can know of the stack.
                let ended = futures::poll!(&mut holding).is_ready();
                tell(&Line::Ready(Box::new(record)));
                if !ended {
                    holding.await;
                }
            }
            stop(stack).await
        }
        Err(failure) => {
            tell(&Line::Failed { code: failure.code, text: failure.text, help: failure.help });
            Err(Failure::silent(failure.code))
        }
    }
}

/// Removes what an unfinished start has made already, in a cluster that goes on, too.
async fn given_up(args: &UpArgs, why: &str) -> Failure {
    let removed = async {
        let name = args.name.parse()?;
        Ok::<_, Failure>(remains::remove(&choices::paths()?, &name).await?)
    };
    match removed.await {
        Ok(()) => Failure::new(FAILED, format!("{why}; nothing is left running")),
        Err(failure) => Failure::new(FAILED, format!("{why}; {failure}"))
            .help(format!("`cargo xtask down --name {}` tries again", args.name)),
    }
}

async fn bring_up(args: &UpArgs, progress: &Progress) -> Result<RunningStack, Failure> {
    let spec = choices::spec(args)?;
    let paths = choices::paths()?;
    let redactor = Redactor::default();
    let timeline = Timeline::new(redactor.clone());
    Ok(match &args.from {
        None => start(spec, &paths, timeline, redactor, progress).await?,
        Some(snapshot) => restore(spec, snapshot, &paths, timeline, redactor, progress).await?,
    })
}

/// Holds the stack until this process is asked to end; meanwhile other commands can ask for things.
async fn hold(stack: &RunningStack) {
    match ControlSocket::open(&stack.dir) {
        Ok(socket) => {
            tokio::select! {
                () = interrupted() => {}
                () = socket.serve(stack) => {}
            }
        }
        Err(error) => {
            printer::say(&format!("no control socket ({error}): this stack can be neither saved nor forked"));
            interrupted().await;
        }
    }
}

fn record(stack: &RunningStack) -> Result<StackRecord, Failure> {
    choices::running(&choices::paths()?, stack.spec.name.as_str())
}

async fn stop(stack: RunningStack) -> Result<(), Failure> {
    stack.stop().await.map_err(|error| Failure::new(STACK, format!("remove the stack's directory: {error}")))
}

/// A reader that is gone is no reason to stop: after the stack is ready nobody listens.
fn tell(line: &Line) {
    printer::data(&serde_json::to_string(line).unwrap_or_default());
}

/// Returns when standard input ends without the word that lets this process go its own way.
async fn abandoned() {
    let mut lines = BufReader::new(tokio::io::stdin()).lines();
    loop {
        match lines.next_line().await {
            Ok(Some(line)) if line == DETACH => return std::future::pending().await,
            Ok(Some(_)) => {}
            Ok(None) | Err(_) => return,
        }
    }
}
