//! `test`: formatting, lints with warnings denied, all tests.

use crate::cli::TestArgs;
use crate::exit::{FAILED, Failure, PREREQUISITE};
use crate::printer;

pub fn run(args: &TestArgs) -> Result<(), Failure> {
    let mut tests = vec!["test", "--workspace", "--quiet"];
    tests.extend(args.rest.iter().map(String::as_str));
    let all: [(&str, &[&str]); 3] = [
        ("formatting", &["fmt", "--all", "--check"]),
        ("lints", &["clippy", "--workspace", "--all-targets", "--quiet", "--", "--deny", "warnings"]),
        ("tests", &tests),
    ];
    // A filter asks for tests only.
    let checks = if args.rest.is_empty() { &all[..] } else { &all[2..] };
    for (what, arguments) in checks {
        printer::say(&format!("{what}: cargo {}", arguments.join(" ")));
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let outcome = duct::cmd(cargo, *arguments).unchecked().run();
        let status =
            outcome.map_err(|error| Failure::new(PREREQUISITE, format!("run cargo: {error}")))?.status;
        if !status.success() {
            return Err(Failure::new(FAILED, format!("{what} failed ({status})"))
                .help(format!("`cargo {}` runs it alone", arguments.join(" "))));
        }
    }
    Ok(())
}
