//! `kube serve`: a cluster on its own in the foreground, for tests in any language.

use std::path::PathBuf;

use plexlab_harness::backend::BackendKind;
use plexlab_harness::backend::options::BackendOptions;
use plexlab_harness::backend::standalone::{ServeSpec, Standalone, start};
use serde_json::json;
use tokio::io::AsyncReadExt as _;

use crate::cli::{Output, ServeArgs};
use crate::commands::choices;
use crate::commands::interrupt::interrupted;
use crate::exit::{FAILED, Failure, PREREQUISITE, STACK, USAGE};
use crate::printer;

pub async fn serve(args: ServeArgs) -> Result<(), Failure> {
    let (output, watch_stdin) = (args.output, args.until_stdin_ends);
    let spec = spec(args)?;
    if spec.nodes > 0 {
        let missing = |error: plexlab_harness::backend::Unavailable| {
            Failure::new(PREREQUISITE, error.to_string())
                .help("`--nodes 0` serves a cluster that runs no pods")
        };
        BackendKind::Embedded.available().map_err(missing)?;
    }
    let paths = choices::paths()?;
    let over = end(watch_stdin);
    tokio::pin!(over);
    let cluster = tokio::select! {
        cluster = start(spec, &paths) => cluster?,
        () = &mut over => return Err(Failure::new(FAILED, "interrupted while starting; nothing is left running")),
    };
    announce(&cluster, output);
    over.await;
    cluster.stop().await.map_err(|error| Failure::new(STACK, error.to_string()))
}

fn spec(args: ServeArgs) -> Result<ServeSpec, Failure> {
    let programs = args.images.iter().map(|text| program(text)).collect::<Result<_, _>>()?;
    Ok(ServeSpec {
        nodes: args.nodes.unwrap_or(u32::from(!args.without_controllers)),
        controllers: !args.without_controllers,
        tokens: args.tokens,
        audit: args.audit_policy.zip(args.audit_log),
        port: args.port,
        kubeconfig: args.kubeconfig,
        programs,
        postgres: args.postgres,
        backend: BackendKind::Embedded,
        options: BackendOptions::default(),
    })
}

fn program(text: &str) -> Result<(String, PathBuf), Failure> {
    let wrong = |why: String| {
        Failure::new(USAGE, format!("--image {text}: {why}"))
            .help("write NAME=PATH, for example app:dev=./app")
    };
    let Some((name, path)) = text.split_once('=').filter(|(name, path)| !name.is_empty() && !path.is_empty())
    else {
        return Err(wrong("expected NAME=PATH".to_owned()));
    };
    match std::fs::canonicalize(path) {
        Ok(path) if path.is_file() => Ok((name.to_owned(), path)),
        Ok(path) => Err(wrong(format!("{} is no file", path.display()))),
        Err(error) => Err(wrong(format!("{path}: {error}"))),
    }
}

/// Returns when the cluster is to end.
async fn end(watch_stdin: bool) {
    let stdin_ended = async {
        if watch_stdin {
            let mut buffer = [0u8; 512];
            let mut stdin = tokio::io::stdin();
            while stdin.read(&mut buffer).await.is_ok_and(|read| read > 0) {}
        } else {
            std::future::pending::<()>().await;
        }
    };
    tokio::select! {
        () = interrupted() => {}
        () = stdin_ended => {}
    }
}

/// One line on standard output: the kubeconfig's path, or a JSON document.
fn announce(cluster: &Standalone, output: Output) {
    let kubeconfig = cluster.kubeconfig().display().to_string();
    match output {
        Output::Json => printer::data(
            &json!({
                "kubeconfig": kubeconfig,
                "url": cluster.url(),
                "nodes": cluster.nodes,
                "process": std::process::id(),
                "ready_after_ms": u64::try_from(cluster.took.as_millis()).unwrap_or(u64::MAX),
            })
            .to_string(),
        ),
        Output::Text => {
            let nodes = match cluster.nodes.len() {
                1 => "1 node".to_owned(),
                count => format!("{count} nodes"),
            };
            printer::say(&format!(
                "Kubernetes answers at {} ({nodes}, ready after {} ms); Ctrl-C ends it\nits kubeconfig:",
                cluster.url(),
                cluster.took.as_millis()
            ));
            printer::data(&kubeconfig);
        }
    }
}
