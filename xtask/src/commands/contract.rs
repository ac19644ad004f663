//! `contract`: where the published sources disagree and what plexlab does there; and, when PLEXSPHERE_OPENAPI names the
//! published OpenAPI document, which of its operations the control-plane stand-in serves.

use plexlab_control_plane::operations;
use plexlab_scenarios::contract::coverage::{Claim, Coverage, compare};
use plexlab_scenarios::contract::drift::{Drift, Pin, TABLE};
use plexlab_scenarios::contract::spec::{Spec, VARIABLE};
use serde_json::json;

use crate::cli::{ListArgs, Output};
use crate::exit::{Failure, USAGE};
use crate::printer;

pub fn run(args: &ListArgs) -> Result<(), Failure> {
    let spec = Spec::given().map_err(|error| {
        Failure::new(USAGE, format!("{VARIABLE}: {error}"))
            .help("unset the variable, or name the OpenAPI document")
    })?;
    let coverage = spec.as_ref().map(coverage);
    match args.output {
        Output::Json => printer::json(&json!({"drift": TABLE, "coverage": coverage})),
        Output::Text => {
            TABLE.iter().for_each(|drift| printer::data(&described(drift)));
            match coverage {
                Some(coverage) => print(&coverage),
                None => printer::say(&format!(
                    "which operations are served is shown when {VARIABLE} names the document"
                )),
            }
        }
    }
    Ok(())
}

fn coverage(spec: &Spec) -> Coverage {
    let claims: Vec<Claim<'_>> = operations::all()
        .map(|operation| Claim {
            method: operation.method,
            path: operation.path,
            not_provisioned: operation.not_provisioned,
        })
        .collect();
    compare(spec, &claims)
}

fn described(drift: &Drift) -> String {
    let versions: String = drift
        .versions
        .iter()
        .map(|version| format!("      {}: {}\n", version.source, version.says))
        .collect();
    let pin = match drift.pin {
        Pin::Test(test) => test.to_owned(),
        Pin::Switch { switch, test } => format!("{switch}; {test}"),
    };
    format!(
        "C{:<3} {}\n{versions}      here: {}\n      held by: {pin}\n",
        drift.number, drift.topic, drift.default
    )
}

fn print(coverage: &Coverage) {
    let Coverage { served, not_served, unknown, unpublished } = coverage;
    printer::data(&format!(
        "{} of {} published operations are served",
        served.len(),
        served.len() + not_served.len() + unknown.len()
    ));
    for (id, code) in not_served {
        printer::data(&format!("  501 {id:<40} {code}"));
    }
    unknown.iter().for_each(|id| printer::data(&format!("  unknown here: {id}")));
    unpublished.iter().for_each(|route| printer::data(&format!("  served, not published: {route}")));
}
