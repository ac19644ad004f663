//! `ids`: the seeded ids that the tutorials ask for, as two shell assignments and nothing else.

use plexlab_scenarios::clients::database::{Database, DatabaseError};
use serde_json::json;

use crate::cli::{Output, StackArgs};
use crate::commands::choices;
use crate::exit::{Failure, STACK};
use crate::printer;

pub async fn run(args: StackArgs) -> Result<(), Failure> {
    let paths = choices::paths()?;
    let record = choices::running(&paths, &args.name)?;
    let ids = match Database::of(&record.addresses).await {
        Ok(database) => database.login_ids("acme-corp").await,
        Err(error) => Err(error),
    };
    let ids = ids.map_err(|error| {
        Failure::new(STACK, error.to_string()).help(match error {
            DatabaseError::Elsewhere => "ask who runs the control plane for the ids of its Domain and login",
            DatabaseError::Query(_) => "`cargo xtask logs postgres` shows what the database says",
        })
    })?;
    match args.output {
        Output::Json => printer::json(&json!({"DOMAIN_ID": ids.domain, "BINDING_ID": ids.binding})),
        Output::Text => {
            printer::data(&format!("export DOMAIN_ID={}", ids.domain));
            printer::data(&format!("export BINDING_ID={}", ids.binding));
        }
    }
    Ok(())
}
