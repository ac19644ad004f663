//! `envtest`: the real programs of a Kubernetes version, for the backend of that name.

use plexlab_harness::backend::envtest::download::{DownloadError, programs};

use crate::cli::EnvtestArgs;
use crate::commands::choices;
use crate::exit::{Failure, PREREQUISITE, USAGE};
use crate::printer;

pub async fn run(args: EnvtestArgs) -> Result<(), Failure> {
    let found = programs(&choices::paths()?.cache, &args.version, &args.index).await;
    let directory = found.map_err(|error| {
        let code = match &error {
            DownloadError::NoVersion(_) | DownloadError::Unknown { .. } => USAGE,
            _ => PREREQUISITE,
        };
        Failure::new(code, error.to_string())
    })?;
    printer::data(&directory.display().to_string());
    Ok(())
}
