//! `rbac`: the rights that the kubeconfig backend needs, as manifests.

use plexlab_harness::backend::attach::rbac::{NAME, objects};

use crate::cli::{ListArgs, Output};
use crate::exit::Failure;
use crate::printer;

pub fn run(args: &ListArgs) -> Result<(), Failure> {
    match args.output {
        Output::Json => printer::json(&objects()),
        Output::Text => {
            let documents: Vec<String> =
                objects().iter().map(|object| serde_norway::to_string(object).unwrap_or_default()).collect();
            printer::data(documents.join("---\n").trim_end());
            printer::say(&format!(
                "the binding is to the user `{NAME}`: name there whoever is to run plexlab; `escalate` and `bind` are \
                 needed because a stack brings operators with roles of their own"
            ));
        }
    }
    Ok(())
}
