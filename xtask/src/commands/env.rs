//! `env`: the variables that point kubectl, psql, curl, vault and the clouds' own tools at a stack.

use std::collections::BTreeMap;

use plexlab_harness::clouds;
use plexlab_harness::paths::Paths;
use plexlab_harness::stack::record::StackRecord;

use crate::cli::{Output, StackArgs};
use crate::commands::choices;
use crate::exit::{Failure, STACK};
use crate::printer;

/// Tokens are printed only because this command is asked for them; nothing else prints them.
pub fn run(args: &StackArgs) -> Result<(), Failure> {
    let paths = choices::paths()?;
    let record = choices::running(&paths, &args.name)?;
    let variables = variables(&paths, &record)?;
    match args.output {
        Output::Json => printer::json(&variables),
        Output::Text => {
            for (name, value) in variables {
                printer::data(&format!("export {name}={}", quoted(&value)));
            }
        }
    }
    Ok(())
}

/// The variables of a stack, tokens among them.
pub(super) fn variables(paths: &Paths, record: &StackRecord) -> Result<BTreeMap<String, String>, Failure> {
    let dir = paths.stack(&record.name);
    let read = |name: &str| {
        let path = dir.join(name);
        std::fs::read_to_string(&path)
            .map_err(|error| Failure::new(STACK, format!("read {}: {error}", path.display())))
    };
    let own = [
        ("KUBECONFIG", dir.join("kubeconfig").display().to_string()),
        ("PLEXSPHERE_URL", record.addresses.control_plane.clone()),
        // The project owner's, whom most of the documents' commands are for.
        ("PLEXSPHERE_TOKEN", read("owner-token")?),
        ("VAULT_ADDR", record.addresses.vault.clone()),
        ("VAULT_TOKEN", read("vault-token")?),
    ];
    let of_clouds = clouds::access::read(&dir);
    let mut variables =
        of_clouds.map_err(|error| Failure::new(STACK, format!("read the clouds' variables: {error}")))?;
    variables.extend(own.map(|(name, value)| (name.to_owned(), value)));
    // A control plane elsewhere has its own database and operator.
    if let Some(dsn) = record.addresses.dsn() {
        variables.insert("PLEXSPHERE_DSN".to_owned(), dsn);
        variables.insert("PLEXSPHERE_OPERATOR_TOKEN".to_owned(), read("operator-token")?);
    }
    Ok(variables)
}

/// In single quotes, as a POSIX shell wants it.
fn quoted(value: &str) -> String {
    format!("'{}'", value.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::quoted;

    #[test]
    fn a_quote_in_a_value_cannot_end_the_quotes() {
        assert_eq!(quoted("a'b"), r"'a'\''b'");
    }
}
