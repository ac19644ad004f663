//! `logs`: a component's log, through the Kubernetes API, or the driver's own.

use std::path::Path;

use futures::{AsyncBufReadExt as _, TryStreamExt as _};
use plexlab_harness::clouds::Cloud;
use plexlab_harness::images::Component;
use plexlab_harness::stack::logs::component_streams;

use crate::cli::LogsArgs;
use crate::commands::choices;
use crate::exit::{Failure, STACK, USAGE};
use crate::printer;
use crate::suggestion::nearest;

const DRIVER: &str = "driver";
/// The proxy that leads to the clouds.
const INTERNET: &str = "internet";

pub async fn run(args: LogsArgs) -> Result<(), Failure> {
    let paths = choices::paths()?;
    if args.component == DRIVER {
        let name: plexlab_harness::stack::spec::StackName = args.name.parse()?;
        return driver_log(&paths.stack(name.as_str()).join("driver.log"));
    }
    let components = Component::ALL.map(|component| (component.name(), component.workload()));
    let clouds = Cloud::ALL.map(Cloud::name).into_iter().chain([INTERNET]).map(|name| (name, name));
    let known = || components.into_iter().chain(clouds.clone());
    let names = || known().map(|(name, _)| name).chain([DRIVER]);
    let Some((_, workload)) = known().find(|(name, _)| *name == args.component) else {
        let failure = Failure::new(USAGE, format!("there is no component `{}`", args.component));
        let all = names().collect::<Vec<_>>().join(", ");
        return Err(match nearest(&args.component, names()) {
            Some(near) => failure.help(format!("did you mean `{near}`? there are {all}")),
            None => failure.help(format!("there are {all}")),
        });
    };
    let record = choices::running(&paths, &args.name)?;
    let kubeconfig = paths.stack(&record.name).join("kubeconfig");
    let streams = component_streams(&kubeconfig, workload, args.follow).await;
    let streams = streams.map_err(|error| Failure::new(STACK, error.to_string()))?;
    if streams.is_empty() {
        let failure = Failure::new(STACK, format!("{} has no pod", args.component));
        return Err(match clouds.into_iter().any(|(name, _)| name == args.component) {
            true => failure.help("a stack has the clouds that `up --cloud` was given".to_owned()),
            false => failure,
        });
    }
    let several = streams.len() > 1;
    let printing = streams.into_iter().map(|(pod, stream)| async move {
        let mut lines = stream.lines();
        while let Ok(Some(line)) = lines.try_next().await {
            if several { printer::data(&format!("{pod}: {line}")) } else { printer::data(&line) }
        }
    });
    futures::future::join_all(printing).await;
    Ok(())
}

fn driver_log(path: &Path) -> Result<(), Failure> {
    match std::fs::read_to_string(path) {
        Ok(text) => {
            printer::data(text.trim_end());
            Ok(())
        }
        Err(error) => Err(Failure::new(STACK, format!("read {}: {error}", path.display()))),
    }
}
