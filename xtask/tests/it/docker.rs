//! What `images build` makes, and what `doctor` says, held against a real container engine, where one answers.

use plexlab_lab::skip::skipped;

use crate::lab::{Lab, Outcome, has};

/// Prints what it is started with.
const PROGRAM: &str = "#include <stdio.h>\nint main(int n, char **a) { for (int i = 1; i < n; i++) printf(\"%s \", a[i]); \
                       puts(\"\"); return 0; }\n";

/// How the engine is reached, as variables.
fn engine(lab: &Lab, test: &str) -> Option<Vec<(String, String)>> {
    if !has("docker", test) {
        return None;
    }
    let variables: Vec<_> =
        std::env::var("DOCKER_HOST").into_iter().map(|host| ("DOCKER_HOST".to_owned(), host)).collect();
    let info = Outcome::of(lab.command_with(&variables, "docker", &["info"]));
    if info.code != Some(0) {
        skipped(test, "docker does not answer");
        return None;
    }
    Some(variables)
}

#[test]
fn a_real_engine_loads_the_archive_and_runs_each_stand_in_by_its_name() {
    let test = "a_real_engine_loads_the_archive_and_runs_each_stand_in_by_its_name";
    let lab = Lab::new();
    let Some(variables) = engine(&lab, test) else { return };
    let docker = |arguments: &[&str]| Outcome::of(lab.command_with(&variables, "docker", arguments));
    let names = docker(&["images", "--format", "{{.Repository}}"]).expect_success("list the images").stdout;
    if names.contains("plexlab.dev/") {
        return skipped(test, "docker has images of the stand-ins, which this would replace");
    }
    let (source, program) = (lab.home().join("program.c"), lab.home().join("program"));
    std::fs::write(&source, PROGRAM).unwrap();
    let arguments = ["-static", "-o", program.to_str().unwrap(), source.to_str().unwrap()];
    if !has("cc", test) {
        return;
    }
    if Outcome::of(lab.command("cc", &arguments)).code != Some(0) {
        return skipped(test, "there is no static libc");
    }
    let archive = lab.home().join("images.tar").display().to_string();
    let build = ["images", "build", "--program", program.to_str().unwrap(), "--output", &archive];
    let built = lab.run(&build).expect_success("build").stdout;
    docker(&["load", "--input", &archive]).expect_success("load");
    let images: Vec<(&str, &str)> = built.lines().filter_map(|line| line.split_once(' ')).collect();
    assert!(images.len() >= 6, "{built}");
    let mut said = Vec::new();
    for (image, _) in &images {
        said.push(docker(&["run", "--rm", "--network=none", image, "--with", "arguments"]));
    }
    let all: Vec<&str> = images.iter().map(|(image, _)| *image).collect();
    docker(&[&["rmi", "--force"], &all[..]].concat()).expect_success("remove the images");
    for ((image, applet), said) in images.iter().zip(said) {
        let expected = format!("{} --with arguments", applet.trim());
        assert_eq!(said.expect_success(image).stdout.trim(), expected, "{image}");
    }
}
