//! `tutorial`: plays a document against a stack, prints each block as it ends.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use plexlab_harness::backend::BackendKind;
use plexlab_harness::backend::options::BackendOptions;
use plexlab_harness::clouds::Clouds;
use plexlab_harness::images::Images;
use plexlab_harness::paths::Paths;
use plexlab_harness::redact::Redactor;
use plexlab_harness::stack::record::StackRecord;
use plexlab_harness::stack::remains;
use plexlab_harness::stack::spec::{Agent, Operator, Publish, StackName, StackSpec};
use plexlab_harness::stack::start::start;
use plexlab_harness::timeline::Timeline;
use plexlab_scenarios::tutorial::session::{SessionError, Settings};
use plexlab_scenarios::tutorial::{Document, Options, Played, play};

use crate::cli::{Output, TutorialArgs};
use crate::commands::interrupt::interrupted;
use crate::commands::{checkout_bin, choices, env};
use crate::exit::{FAILED, Failure, NOTHING_RAN, PREREQUISITE, STACK, USAGE};
use crate::printer;

/// The control plane's address in documents.
const DOCUMENTED: &str = "http://localhost:8080";
/// Its port: what a stack of the tutorial's own takes when it is free.
const DOCUMENTED_PORT: u16 = 8080;
/// Nodes of a stack of the tutorial's own, as `up` has them.
const NODES: u32 = 3;
/// How long a block is tried again where the document says that a grant needs a moment.
const RETRY_FOR: Duration = Duration::from_secs(30);
/// The name of this program for the shells of a document.
const DRIVER: &str = "xtask";
/// How long a log is followed that a document follows without end.
const FOLLOW: Duration = Duration::from_secs(10);
/// Variables of this process that blocks see, too: where programs and their caches are, and nothing personal.
const INHERITED: [&str; 11] = [
    "PATH",
    "LANG",
    "TZ",
    "TMPDIR",
    "CARGO_HOME",
    "CARGO_TARGET_DIR",
    "RUSTUP_HOME",
    "RUSTUP_TOOLCHAIN",
    "SSL_CERT_FILE",
    "XDG_STATE_HOME",
    "XDG_CACHE_HOME",
];

pub async fn run(args: TutorialArgs) -> Result<(), Failure> {
    let text = std::fs::read_to_string(&args.file).map_err(|error| {
        Failure::new(USAGE, format!("read {}: {error}", args.file.display()))
            .help("scenarios/tutorials/ holds the workspace's own")
    })?;
    let document = Document::read(&text);
    if document.blocks.is_empty() {
        return Err(Failure::new(NOTHING_RAN, format!("{} has no shell blocks", args.file.display())));
    }
    let paths = choices::paths()?;
    let played = tokio::select! {
        played = on_stack(&args, &document, &paths) => played?,
        () = interrupted() => {
            remains::remove_dead_runs(&paths).await;
            return Err(Failure::new(FAILED, "interrupted; nothing is left running"));
        }
    };
    match args.output {
        Output::Json => printer::json(&played),
        Output::Text => {
            // The blocks were printed as they ended.
            let all = Played { blocks: Vec::new(), ..played.clone() }.summary();
            let notes: Vec<&str> = all.lines().filter(|line| line.starts_with("note: ")).collect();
            notes.iter().for_each(|note| printer::data(note));
            let (passed, failed, skipped) = (played.passed(), played.failed(), played.skipped());
            printer::data(&format!("{passed} passed, {failed} failed, {skipped} skipped"));
        }
    }
    if played.failed() > 0 {
        Err(Failure::silent(FAILED))
    } else if played.passed() == 0 {
        Err(Failure::new(NOTHING_RAN, "nothing ran: every block was skipped"))
    } else {
        Ok(())
    }
}

async fn on_stack(args: &TutorialArgs, document: &Document, paths: &Paths) -> Result<Played, Failure> {
    if let Some(name) = &args.stack {
        let record = choices::running(paths, name)?;
        return play_on(args, document, paths, &record).await;
    }
    remains::remove_dead_runs(paths).await;
    let redactor = Redactor::default();
    let spec = StackSpec {
        name: StackName::of_run(1),
        nodes: NODES,
        backend: BackendKind::Embedded,
        options: BackendOptions::default(),
        images: Images::default(),
        clouds: Clouds::new(),
        operator: Operator::default(),
        agent: Agent::Deployed,
        publish: Publish::Prefer(DOCUMENTED_PORT),
    };
    let timeline = Timeline::new(redactor.clone());
    let stack = start(spec, paths, timeline, redactor, &printer::progress()).await?;
    let record = choices::running(paths, stack.spec.name.as_str());
    let played = match &record {
        Ok(record) => play_on(args, document, paths, record).await,
        Err(_) => Ok(Played::default()),
    };
    let stopped = stack.stop().await;
    record?;
    let played = played?;
    stopped.map_err(|error| Failure::new(STACK, format!("remove the stack's directory: {error}")))?;
    Ok(played)
}

async fn play_on(
    args: &TutorialArgs,
    document: &Document,
    paths: &Paths,
    record: &StackRecord,
) -> Result<Played, Failure> {
    let options = Options {
        settings: Settings {
            bash: PathBuf::from("bash"),
            directory: root(),
            environment: environment(paths, record)?,
            sleep_divisor: args.hurry,
            follow: FOLLOW,
        },
        answers: args.answers.iter().cloned().collect(),
        replacements: BTreeMap::from([(DOCUMENTED.to_owned(), record.addresses.control_plane.clone())]),
        limit: Duration::from_secs(args.limit),
        retry_for: RETRY_FOR,
    };
    let text = args.output == Output::Text;
    let redactor = Redactor::default();
    let played = play(document, &options, &redactor, |block| {
        if text {
            printer::data(block.summary().trim_end());
        }
    });
    played.await.map_err(|error| {
        let code = if matches!(error, SessionError::Start(_)) { PREREQUISITE } else { STACK };
        Failure::new(code, error.to_string())
    })
}

/// What blocks see: the stack's variables but the operator's token, since documents sign in themselves.
fn environment(paths: &Paths, record: &StackRecord) -> Result<BTreeMap<String, String>, Failure> {
    let inherited = INHERITED.iter().filter_map(|name| Some(((*name).to_owned(), std::env::var(name).ok()?)));
    let mut all: BTreeMap<String, String> = inherited.collect();
    let stack = env::variables(paths, record)?;
    all.extend(stack.into_iter().filter(|(name, _)| name != "PLEXSPHERE_TOKEN"));
    all.insert("PLEXLAB_STACK".to_owned(), record.name.clone());
    all.insert("PLEXLAB_STATE_DIR".to_owned(), paths.state.display().to_string());
    // What the Makefile calls: this program, since cargo would build one first, and for longer than a block may last.
    all.insert("XTASK".to_owned(), DRIVER.to_owned());
    all.insert("PLEXLAB_CACHE".to_owned(), paths.cache.display().to_string());
    // HOME is the session's own; cargo, which `make` calls, keeps its things below the real one.
    if let Some(home) = std::env::home_dir() {
        for (name, folder) in [("CARGO_HOME", ".cargo"), ("RUSTUP_HOME", ".rustup")] {
            all.entry(name.to_owned()).or_insert_with(|| home.join(folder).display().to_string());
        }
    }
    let programs = programs(paths, record)?.display().to_string();
    let path = all.entry("PATH".to_owned()).or_default();
    *path = if path.is_empty() { programs } else { format!("{programs}:{path}") };
    Ok(all)
}

/// The directory with the stack's `plexctl` and `xtask`, which are this program; it goes with the stack.
fn programs(paths: &Paths, record: &StackRecord) -> Result<PathBuf, Failure> {
    let dir = paths.stack(&record.name);
    let bin = dir.join("bin");
    for name in ["plexctl", DRIVER] {
        let linked = std::env::current_exe().and_then(|program| checkout_bin::link(&dir, name, &program));
        linked.map_err(|error| Failure::new(STACK, format!("make {}/{name}: {error}", bin.display())))?;
    }
    Ok(bin)
}

/// The workspace, where documents begin: its Makefile and `bin/` are there.
fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().map_or_else(|| PathBuf::from("."), Path::to_owned)
}
