//! `up`: starts a driver of its own session, shows its progress, and leaves it running.

use std::fs::OpenOptions;
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use plexlab_harness::images::Component;
use plexlab_harness::paths::{Paths, create_private_dir};
use plexlab_harness::progress::Progress;
use plexlab_harness::stack::plan::plan;
use plexlab_harness::stack::record::{self, Found, RecordError, StackRecord};
use plexlab_harness::stack::secrets::Secrets;
use plexlab_harness::stack::spec::StackSpec;
use plexlab_harness::stack::start::{check, check_choices};

use crate::cli::{Output, UpArgs};
use crate::commands::driver::{DETACH, Line};
use crate::commands::{checkout_bin, choices};
use crate::exit::{Failure, PREREQUISITE, STACK};
use crate::printer;

/// `up --dry-run`.
pub fn dry_run(args: &UpArgs) -> Result<(), Failure> {
    let spec = choices::spec(args)?;
    check_choices(&spec)?;
    let plan =
        plan(&spec, &Secrets::placeholders()).map_err(|error| Failure::new(STACK, error.to_string()))?;
    match args.output {
        Output::Json => printer::json(&plan),
        Output::Text => printer::data(plan.describe().trim_end()),
    }
    Ok(())
}

/// `up`.
pub fn run(args: &UpArgs) -> Result<(), Failure> {
    let spec = choices::spec(args)?;
    let paths = choices::paths()?;
    if let Found::Running(record) = record::find(&paths, &spec.name)? {
        already(args, &spec, &record, &paths);
        return Ok(());
    }
    check(&spec)?;
    let record = bring_up(args, &paths, &printer::progress())?;
    announce(args, &record, &paths);
    checkout_bin::link_plexctl();
    Ok(())
}

/// What runs stays as it is.
fn already(args: &UpArgs, spec: &StackSpec, record: &StackRecord, paths: &Paths) {
    announce(args, record, paths);
    let different = differences(spec, record);
    let name = &spec.name;
    if different.is_empty() {
        printer::say(&format!("\nthe stack `{name}` ran already, as asked for"));
        return;
    }
    printer::say(&format!("\nthe stack `{name}` ran already, and is not what was asked for:"));
    for line in different {
        printer::say(&format!("  {line}"));
    }
    printer::say(&format!(
        "it stays as it is; `cargo xtask down --name {name}` first makes room for another"
    ));
}

/// How a running stack differs from what was asked for, one line for each.
fn differences(spec: &StackSpec, record: &StackRecord) -> Vec<String> {
    let clouds = |clouds: Vec<&str>| if clouds.is_empty() { "none".to_owned() } else { clouds.join(", ") };
    let images =
        |images: Vec<String>| if images.is_empty() { "stand-ins".to_owned() } else { images.join(", ") };
    let asked_images = Component::ALL.into_iter().filter(|component| !spec.images.is_stand_in(*component));
    let asked_images = asked_images.map(|component| format!("{component}={}", spec.images.source(component)));
    let rows = [
        ("backend", record.backend.clone(), spec.backend.to_string()),
        ("nodes", record.nodes.to_string(), spec.nodes.to_string()),
        ("images", images(record.images.clone()), images(asked_images.collect())),
        (
            "clouds",
            clouds(record.addresses.clouds.keys().map(|cloud| cloud.name()).collect()),
            clouds(spec.clouds.iter().map(|cloud| cloud.name()).collect()),
        ),
    ];
    let differ = rows.into_iter().filter(|(_, runs, asked)| runs != asked);
    differ.map(|(what, runs, asked)| format!("{what:<8} {runs} (asked for: {asked})")).collect()
}

/// Starts a stack's driver and returns when the stack is ready.
pub fn bring_up(args: &UpArgs, paths: &Paths, progress: &Progress) -> Result<StackRecord, Failure> {
    let spec = choices::spec(args)?;
    if let Found::Running(_) | Found::Busy = record::find(paths, &spec.name)? {
        return Err(RecordError::Taken { name: spec.name.to_string() }.into());
    }
    let dir = paths.stack(spec.name.as_str());
    create_private_dir(&dir).map_err(|source| RecordError::Unusable { path: dir.clone(), source })?;
    follow_driver(args, &dir.join("driver.log"), progress)
}

/// Starts the driver and follows what it says until the stack is ready.
fn follow_driver(args: &UpArgs, log: &Path, progress: &Progress) -> Result<StackRecord, Failure> {
    let fail =
        |what: &str, error: &dyn std::fmt::Display| Failure::new(PREREQUISITE, format!("{what}: {error}"));
    let log = OpenOptions::new().append(true).create(true).mode(0o600).open(log);
    let log = log.map_err(|error| fail("open the driver's log", &error))?;
    let program = std::env::current_exe().map_err(|error| fail("find this program", &error))?;
    let (instructions, mut tell) = std::io::pipe().map_err(|error| fail("make a pipe", &error))?;
    let driver = duct::cmd(program, driver_arguments(args))
        .stdin_file(instructions)
        .stderr_file(log)
        .before_spawn(|command| {
            in_own_session(command);
            Ok(())
        })
        .reader()
        .map_err(|error| fail("start the driver", &error))?;
    let mut lines = BufReader::new(&driver);
    let mut line = String::new();
    loop {
        line.clear();
        // The end of the output, or an exit code that the reader reports as an error.
        if !lines.read_line(&mut line).is_ok_and(|read| read > 0) {
            return Err(Failure::new(STACK, "the driver ended without a word")
                .help(format!("`cargo xtask logs driver --name {}` shows what it said", args.name)));
        }
        match serde_json::from_str(&line) {
            Ok(Line::News(news)) => progress.tell(news),
            Ok(Line::Failed { code, text, help }) => return Err(Failure { code, text, help }),
            Ok(Line::Ready(record)) => {
                let _ = writeln!(tell, "{DETACH}");
                // The driver outlives this command on purpose: its handle must not wait for it or end it.
                std::mem::forget(driver);
                return Ok(*record);
            }
            Err(error) => return Err(fail("understand the driver", &error)),
        }
    }
}

#[expect(
    clippy::disallowed_types,
    reason = "the driver outlives this command on purpose; it is supervised by its lock"
)]
fn in_own_session(command: &mut std::process::Command) {
    use std::os::unix::process::CommandExt as _;
    // SAFETY: setsid is async-signal-safe and touches no memory of this process.
    unsafe {
        command.pre_exec(|| rustix::process::setsid().map(drop).map_err(Into::into));
    }
}

fn driver_arguments(args: &UpArgs) -> Vec<String> {
    let mut arguments = vec![
        "driver".to_owned(),
        format!("--name={}", args.name),
        format!("--nodes={}", args.nodes),
        format!("--port={}", args.port),
    ];
    let options = [
        ("backend", args.backend.backend.clone()),
        ("kubeconfig", args.backend.kubeconfig.as_ref().map(|path| path.display().to_string())),
        ("context", args.backend.context.clone()),
        ("allow-context", args.backend.allow_context.clone()),
        ("node-image", args.backend.node_image.clone()),
        ("owner-token-file", args.backend.owner_token_file.as_ref().map(|path| path.display().to_string())),
        ("owner-domain", args.backend.owner_domain.clone()),
    ];
    arguments.extend(options.into_iter().filter_map(|(name, value)| Some(format!("--{name}={}", value?))));
    arguments.extend(args.backend.load.iter().map(|path| format!("--load={}", path.display())));
    arguments.extend(args.backend.keep.then(|| "--keep".to_owned()));
    arguments.extend(args.backend.images.iter().map(|image| format!("--image={image}")));
    arguments.extend(args.backend.agent.iter().map(|name| format!("--agent={name}")));
    arguments.extend(args.backend.crds.iter().map(|path| format!("--crds={}", path.display())));
    arguments.extend(args.backend.clouds.iter().map(|cloud| format!("--cloud={cloud}")));
    arguments.extend(args.from.iter().map(|from| format!("--from={}", from.display())));
    arguments
}

/// The address table, and a command to paste.
pub fn announce(args: &UpArgs, record: &StackRecord, paths: &Paths) {
    if args.output == Output::Json {
        printer::json(record);
        return;
    }
    let seconds = record.ready_after_ms as f64 / 1000.0;
    let nodes = if record.nodes == 1 { "1 node".to_owned() } else { format!("{} nodes", record.nodes) };
    printer::say(&format!(
        "\nstack {} is ready after {seconds:.2} s ({}, {nodes})\n",
        record.name, record.backend
    ));
    let kubeconfig = paths.stack(&record.name).join("kubeconfig").display().to_string();
    let rows = [
        ("control plane", record.addresses.control_plane.as_str()),
        ("Kubernetes", &record.addresses.kubernetes),
        ("kubeconfig", &kubeconfig),
        ("secret store", &record.addresses.vault),
    ];
    let dsn = record.addresses.dsn();
    for (what, address) in rows.into_iter().chain(dsn.as_deref().map(|dsn| ("database", dsn))) {
        printer::data(&format!("  {what:<14} {address}"));
    }
    for (cloud, address) in &record.addresses.clouds {
        printer::data(&format!("  {:<14} {address}", cloud.name()));
    }
    if let Some(proxy) = &record.addresses.internet {
        printer::data(&format!("  {:<14} {proxy}", "cloud proxy"));
    }
    let name = if record.name == "dev" { String::new() } else { format!(" --name {}", record.name) };
    printer::say(&format!(
        "\nto use it:  eval \"$(cargo xtask env{name})\" && kubectl get pods --all-namespaces"
    ));
}
