//! What the README and the workflows tell people and machines to type is understood; and the workflows are YAML that
//! says which version of an action it means, and when to give up.

use std::fs;
use std::path::{Path, PathBuf};

use clap::Parser as _;
use serde_norway::Value;

use crate::cli::Cli;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// Files below `.github` that end so.
fn github_files() -> Vec<PathBuf> {
    let (mut found, mut pending) = (Vec::new(), vec![root().join(".github")]);
    while let Some(directory) = pending.pop() {
        for entry in fs::read_dir(directory).unwrap().filter_map(Result::ok) {
            match entry.path() {
                path if path.is_dir() => pending.push(path),
                path if path.extension().is_some_and(|extension| extension == "yml") => found.push(path),
                path => panic!("{} is no .yml", path.display()),
            }
        }
    }
    found
}

/// The arguments after each `cargo xtask` (or the action's `"$xtask"`) of a text.
fn command_lines(text: &str) -> Vec<Vec<String>> {
    let text = text.replace("\\\n", " ");
    let starts = ["cargo xtask ", "\"$xtask\" "];
    let lines = text.lines().flat_map(|line| {
        starts.iter().flat_map(move |start| {
            line.match_indices(start).map(move |(at, start)| words(&line[at + start.len()..]))
        })
    });
    lines.filter(|words| !words.is_empty()).collect()
}

/// The words of a command, as a shell would split them, up to its end. An expansion is a word of its own making.
fn words(line: &str) -> Vec<String> {
    let (mut words, mut word, mut quote) = (Vec::new(), None::<String>, None);
    let mut characters = line.chars().peekable();
    while let Some(character) = characters.next() {
        match (quote, character) {
            (Some(open), _) if character == open => quote = None,
            (None, '"' | '\'') => {
                quote = Some(character);
                word.get_or_insert_default();
            }
            (None, ' ') => words.extend(word.take()),
            // A sentence goes on about the command.
            (None, ':') if characters.peek().is_none_or(|next| *next == ' ') => break,
            (None, '#') if word.is_none() => break,
            (None, '`' | '|' | ';' | '&' | ')' | '>' | '<' | '…') => break,
            _ => word.get_or_insert_default().push(character),
        }
    }
    words.extend(word);
    // Arrays of a script, whose items are of the form that precedes them elsewhere.
    words.retain(|word| !word.starts_with("${"));
    words
}

/// Numbers that a script puts in.
fn with_numbers(words: Vec<String>) -> Vec<String> {
    let number =
        |word: String| if ["$JOBS", "$RERUN_FAILED"].contains(&word.as_str()) { "2".into() } else { word };
    let named = |word: String| if word == "$CONFORMANCE" { "plexd".into() } else { word };
    words.into_iter().map(number).map(named).collect()
}

#[test]
fn every_command_line_of_the_readme_and_of_the_workflows_is_understood() {
    let mut files = github_files();
    files.extend(["README.md", "ARCHITECTURE.md", "Makefile"].map(|name| root().join(name)));
    let mut seen = 0;
    for path in files {
        let text = fs::read_to_string(&path).unwrap();
        for words in command_lines(&text) {
            let words = with_numbers(words);
            let arguments = std::iter::once("xtask".to_owned()).chain(words.clone());
            if let Err(error) = Cli::try_parse_from(arguments) {
                if error.kind() == clap::error::ErrorKind::UnknownArgument
                    && words.iter().any(|word| word == "kind")
                {
                    // The nightly workflow waits for the backend, whose options come with it.
                    plexlab_lab::skip::skipped("a command line for kind", &error.to_string());
                    continue;
                }
                let shows = [clap::error::ErrorKind::DisplayHelp, clap::error::ErrorKind::DisplayVersion];
                assert!(shows.contains(&error.kind()), "{}: {words:?}: {error}", path.display());
            }
            seen += 1;
        }
    }
    assert!(seen > 40, "only {seen} command lines were found");
}

#[test]
fn workflows_pin_their_actions_and_bound_their_jobs() {
    let mut used = 0;
    for path in github_files() {
        let text = fs::read_to_string(&path).unwrap();
        let document: Value =
            serde_norway::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        if let Some(jobs) = document.get("jobs") {
            for (name, job) in jobs.as_mapping().unwrap() {
                assert!(job.get("timeout-minutes").is_some(), "{}: {name:?} has no limit", path.display());
            }
            assert!(document.get("permissions").is_some(), "{}: may do too much", path.display());
        }
        for line in text.lines() {
            let Some((_, action)) = line.split_once("uses: ") else { continue };
            let (action, version) = action.split_once(" # ").unwrap_or((action, ""));
            let is_ours = action.starts_with("./");
            let commit = action.split_once('@').is_some_and(|(_, commit)| {
                commit.len() == 40 && commit.bytes().all(|byte| byte.is_ascii_hexdigit())
            });
            assert!(is_ours || (commit && version.starts_with('v')), "{}: {line}", path.display());
            used += 1;
        }
    }
    assert!(used > 10, "only {used} actions were found");
}
