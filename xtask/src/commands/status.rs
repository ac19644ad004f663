//! `status`: the stacks of this user.

use plexlab_harness::stack::record::{self, Found};
use serde_json::{Value, json};

use crate::cli::{Output, StatusArgs};
use crate::commands::choices;
use crate::exit::Failure;
use crate::printer;

pub fn run(args: &StatusArgs) -> Result<(), Failure> {
    let paths = choices::paths()?;
    let names = match &args.name {
        Some(name) => vec![name.parse()?],
        None => record::names(&paths)?,
    };
    let mut rows = Vec::new();
    for name in names {
        let found = record::find(&paths, &name)?;
        let (state, details) = match &found {
            Found::Nothing => ("none", Value::Null),
            Found::Dead => ("dead", Value::Null),
            Found::Busy => ("starting or stopping", Value::Null),
            Found::Running(record) => ("running", serde_json::to_value(record).unwrap_or_default()),
        };
        rows.push(json!({"name": name.to_string(), "state": state, "stack": details}));
    }
    match args.output {
        Output::Json => printer::json(&rows),
        Output::Text if rows.is_empty() => printer::say("no stack; `cargo xtask up` starts one"),
        Output::Text => rows.iter().for_each(print),
    }
    Ok(())
}

fn print(row: &Value) {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let stack = &row["stack"];
    let mut line = format!("{:<20}  {}", text(&row["name"]), text(&row["state"]));
    if stack.is_object() {
        line.push_str(&format!(
            "  {}, {} nodes, driver {}, control plane {}",
            text(&stack["backend"]),
            stack["nodes"],
            stack["driver"],
            text(&stack["addresses"]["control_plane"])
        ));
    }
    printer::data(&line);
}
