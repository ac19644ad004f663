//! What several commands read from their arguments and the environment.

use std::path::PathBuf;

use plexlab_harness::agents::Generation;
use plexlab_harness::backend::BackendKind;
use plexlab_harness::backend::options::BackendOptions;
use plexlab_harness::clouds::{Clouds, UnknownCloud};
use plexlab_harness::images::{ImageChoice, Images};
use plexlab_harness::owner::OwnerAccess;
use plexlab_harness::paths::Paths;
use plexlab_harness::stack::definitions::Definitions;
use plexlab_harness::stack::record::{self, Found, StackRecord};
use plexlab_harness::stack::spec::{Agent, Operator, Publish, StackName, StackSpec};

use crate::cli::{BackendArgs, UpArgs};
use crate::exit::{Failure, STACK};

/// plexlab's directories, from the environment.
pub fn paths() -> Result<Paths, Failure> {
    Ok(Paths::from_environment(|name| std::env::var_os(name).map(PathBuf::from))?)
}

/// Backend and image sources.
pub fn backend(args: &BackendArgs) -> Result<(BackendKind, Images), Failure> {
    let choices: Result<Vec<ImageChoice>, _> = args.images.iter().map(|text| text.parse()).collect();
    let definitions = args.crds.as_deref().map(Definitions::read).transpose()?;
    let images = Images::new(choices?)
        .with_definitions(definitions)
        .with_agent(agent(args.agent.as_deref())?)
        .with_owner(owner(args));
    let backend = match &args.backend {
        Some(name) => name.parse()?,
        None => BackendKind::Embedded,
    };
    Ok((backend, images))
}

/// The owner at a control plane elsewhere.
fn owner(args: &BackendArgs) -> Option<OwnerAccess> {
    let file = args.owner_token_file.as_ref()?;
    Some(OwnerAccess {
        token_file: std::path::absolute(file).unwrap_or_else(|_| file.clone()),
        domain: args.owner_domain.clone().unwrap_or_else(|| "acme-corp".to_owned()),
    })
}

/// The agent's generation.
pub fn agent(name: Option<&str>) -> Result<Option<Generation>, Failure> {
    Ok(name.map(str::parse).transpose()?)
}

/// A path as the driver, which may be elsewhere, has to have it.
pub fn absolute(path: &PathBuf) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.clone())
}

/// What else is chosen for the backend.
pub fn options(args: &BackendArgs) -> BackendOptions {
    BackendOptions {
        kubeconfig: args.kubeconfig.as_ref().map(absolute),
        context: args.context.clone(),
        allow_context: args.allow_context.clone(),
        node_image: args.node_image.clone(),
        image_archives: args.load.iter().map(absolute).collect(),
        keep: args.keep,
    }
}

/// The clouds.
pub fn clouds(args: &BackendArgs) -> Result<Clouds, Failure> {
    Ok(args.clouds.iter().map(|name| name.parse()).collect::<Result<_, UnknownCloud>>()?)
}

/// The stack that `up` asks for.
pub fn spec(args: &UpArgs) -> Result<StackSpec, Failure> {
    let (backend, images) = backend(&args.backend)?;
    Ok(StackSpec {
        name: args.name.parse()?,
        nodes: args.nodes,
        backend,
        options: options(&args.backend),
        images,
        clouds: clouds(&args.backend)?,
        operator: Operator::default(),
        agent: Agent::Deployed,
        publish: Publish::Prefer(args.port),
    })
}

/// The record of a stack that runs.
pub fn running(paths: &Paths, name: &str) -> Result<StackRecord, Failure> {
    let name: StackName = name.parse()?;
    let start = if name.as_str() == "dev" {
        "cargo xtask up".to_owned()
    } else {
        format!("cargo xtask up --name {name}")
    };
    match record::find(paths, &name)? {
        Found::Running(record) => Ok(*record),
        Found::Busy => Err(Failure::new(STACK, format!("the stack `{name}` is starting or stopping"))
            .help(format!("`cargo xtask logs driver --name {name}` shows what its driver does"))),
        Found::Nothing | Found::Dead => {
            Err(Failure::new(STACK, format!("no stack named `{name}` runs"))
                .help(format!("`{start}` starts it")))
        }
    }
}
