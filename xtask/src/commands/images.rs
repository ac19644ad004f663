//! `images build`: the stand-ins as container images, in one archive.

use std::fs::OpenOptions;
use std::io::BufWriter;
use std::path::{Path, PathBuf};

use plexlab_harness::oci::archive::{all, write};
use plexlab_harness::oci::program::StaticProgram;

use crate::cli::ImagesBuildArgs;
use crate::exit::{Failure, PREREQUISITE, STACK};
use crate::printer;

/// Builds the program, unless one is given, and writes the archive.
pub fn build(args: &ImagesBuildArgs) -> Result<(), Failure> {
    let program = match &args.program {
        Some(path) => path.clone(),
        None => compiled(&args.target)?,
    };
    let program =
        StaticProgram::read(&program).map_err(|error| Failure::new(PREREQUISITE, error.to_string()))?;
    let images = all();
    let fail = |path: &Path, error: &dyn std::fmt::Display| {
        Failure::new(STACK, format!("write {}: {error}", path.display()))
            .help("`--output FILE` chooses another place")
    };
    // Whole or not at all: a half-written archive is not left where a whole one is expected.
    let partial = args.output.with_extension("partial");
    let written = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .open(&partial)
        .and_then(|file| write(&program, &images, BufWriter::new(file)))
        .and_then(|()| std::fs::rename(&partial, &args.output));
    if let Err(error) = written {
        let _ = std::fs::remove_file(&partial);
        return Err(fail(&args.output, &error));
    }
    for image in images {
        printer::data(&format!("{:<34} {}", image.reference, image.applet));
    }
    printer::say(&format!(
        "{} (linux/{}); `docker load --input` or `kind load image-archive` takes it",
        args.output.display(),
        program.architecture
    ));
    Ok(())
}

/// The stand-ins' program, linked statically, by cargo in this checkout.
fn compiled(target: &str) -> Result<PathBuf, Failure> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let arguments = [
        "build",
        "--release",
        "--package=plexlab-fixtures",
        "--bin=plexlab-fixtures",
        &format!("--target={target}"),
        "--message-format=json-render-diagnostics",
    ];
    let flag = "CARGO_ENCODED_RUSTFLAGS";
    let output = duct::cmd(cargo, arguments)
        .env(flag, "-Ctarget-feature=+crt-static")
        .env("CARGO_PROFILE_RELEASE_STRIP", "symbols")
        .stdout_capture()
        .unchecked()
        .run()
        .map_err(|error| Failure::new(PREREQUISITE, format!("start cargo: {error}")).help(OR_GIVEN))?;
    if !output.status.success() {
        let text = format!("the stand-ins could not be built for {target}");
        return Err(Failure::new(PREREQUISITE, text).help(format!(
            "`rustup target add {target}`, a C compiler and a static libc are needed; {OR_GIVEN}"
        )));
    }
    let text = String::from_utf8_lossy(&output.stdout);
    let made = text.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
    let made = made.filter_map(|message| message["executable"].as_str().map(PathBuf::from)).next_back();
    made.ok_or_else(|| Failure::new(PREREQUISITE, "cargo named no program").help(OR_GIVEN))
}

const OR_GIVEN: &str = "or give a program with `--program FILE`";
