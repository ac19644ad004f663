//! `kubeconfig`: where a stack's kubeconfig is. The user's own is never touched.

use serde_json::json;

use crate::cli::{Output, StackArgs};
use crate::commands::choices;
use crate::exit::Failure;
use crate::printer;

pub fn run(args: &StackArgs) -> Result<(), Failure> {
    let paths = choices::paths()?;
    let record = choices::running(&paths, &args.name)?;
    let path = paths.stack(&record.name).join("kubeconfig");
    match args.output {
        Output::Json => printer::json(&json!({"kubeconfig": path})),
        Output::Text => printer::data(&path.display().to_string()),
    }
    Ok(())
}
