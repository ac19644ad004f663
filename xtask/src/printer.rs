//! The one printer: data to standard output, everything else to standard error.

use std::io::{IsTerminal as _, Write as _};
use std::sync::Mutex;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use plexlab_harness::progress::{News, Progress};

use crate::exit::Failure;

/// Data: what a program may read.
pub fn data(text: &str) {
    // A reader that went away (`| head`) is no error of ours.
    let _ = writeln!(anstream::stdout(), "{text}");
}

/// Data as pretty JSON.
pub fn json(value: &impl serde::Serialize) {
    data(&serde_json::to_string_pretty(value).unwrap_or_default());
}

/// A line for people.
pub fn say(text: &str) {
    let _ = writeln!(anstream::stderr(), "{text}");
}

/// Why the command failed, and what to do next.
pub fn error(failure: &Failure) {
    if failure.text.is_empty() {
        return;
    }
    let bold = anstyle::Style::new().bold().fg_color(Some(anstyle::AnsiColor::Red.into()));
    say(&format!("{bold}error:{bold:#} {}", failure.text));
    if let Some(help) = &failure.help {
        say(&format!("  help: {help}"));
    }
}

/// Progress on standard error: a spinner on a terminal, plain lines otherwise.
pub fn progress() -> Progress {
    if std::io::stderr().is_terminal() { spinner() } else { Progress::new(|news| plain(&news)) }
}

/// One plain line for a piece of news; the begin of a phase is not worth one.
pub fn plain(news: &News) {
    match news {
        News::Began { .. } => {}
        News::Ended { phase, millis } => say(&format!("  {phase} ({})", seconds(*millis))),
        News::Note { text } => say(&format!("  note: {text}")),
    }
}

/// How often the spinner turns.
const TURN: Duration = Duration::from_millis(80);

fn spinner() -> Progress {
    let bar = ProgressBar::new_spinner();
    if let Ok(style) = ProgressStyle::with_template("  {spinner} {msg} ({elapsed})") {
        bar.set_style(style);
    }
    bar.enable_steady_tick(TURN);
    let running = Mutex::new(Vec::<String>::new());
    Progress::new(move |news| {
        let mut running = running.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        match &news {
            News::Began { phase } => running.push(phase.clone()),
            News::Ended { phase, millis } => {
                running.retain(|known| known != phase);
                bar.println(format!("  {phase} ({})", seconds(*millis)));
            }
            News::Note { text } => bar.println(format!("  note: {text}")),
        }
        match running.last() {
            Some(phase) => bar.set_message(phase.clone()),
            None => bar.set_message(""),
        }
        if running.is_empty() && matches!(news, News::Ended { .. }) {
            bar.reset_elapsed();
        }
    })
}

fn seconds(millis: u64) -> String {
    format!("{}.{:02} s", millis / 1000, millis % 1000 / 10)
}
