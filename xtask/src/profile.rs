//! Profiles: choices that belong together, under a name, in `plexlab.toml`.
//!
//! ```toml
//! [profiles.real-plexd]
//! image = { plexd = "bin:../plexd/plexd" }
//! agent = "2026-02"
//!
//! [profiles.staging]
//! image = { control-plane = "url:https://plexsphere.staging.example" }
//! owner-token-file = "staging.token"
//! owner-domain = "integration"
//!
//! [profiles.on-kind]
//! backend = "kind"
//! load = ["target/plexlab-images.tar"]
//! ```
//!
//! The keys are the options' own names. The file is that of the directory in which the command is given, or of the
//! nearest one above it; paths in it are relative to it. What is given on the command line wins, one component or
//! option at a time.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::cli::BackendArgs;
use crate::exit::{Failure, USAGE};
use crate::suggestion;

/// The file's name.
const FILE: &str = "plexlab.toml";

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    profiles: BTreeMap<String, Profile>,
}

/// What a profile may choose.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
struct Profile {
    backend: Option<String>,
    kubeconfig: Option<PathBuf>,
    context: Option<String>,
    allow_context: Option<String>,
    node_image: Option<String>,
    load: Vec<PathBuf>,
    keep: bool,
    image: BTreeMap<String, String>,
    owner_token_file: Option<PathBuf>,
    owner_domain: Option<String>,
    crds: Option<PathBuf>,
    agent: Option<String>,
    cloud: Vec<String>,
}

/// The arguments with what their profile says; without one, they are as they were.
///
/// # Errors
/// When there is no such file or profile, or when the file says something that is not understood.
pub fn applied(args: BackendArgs) -> Result<BackendArgs, Failure> {
    let Some(name) = args.profile.clone() else { return Ok(args) };
    let here = std::env::current_dir().unwrap_or_default();
    let path = here.ancestors().map(|directory| directory.join(FILE)).find(|path| path.is_file());
    let path = path.ok_or_else(|| {
        let text = format!("there is no {FILE} in {} nor above it, so no profile `{name}`", here.display());
        Failure::new(USAGE, text)
            .help(format!("write one: [profiles.{name}], then for example backend = \"kind\""))
    })?;
    let fail = |error: &dyn std::fmt::Display| {
        Failure::new(USAGE, format!("understand {}: {error}", path.display()))
    };
    let text = std::fs::read_to_string(&path).map_err(|error| fail(&error))?;
    let mut file: File = toml::from_str(&text).map_err(|error| fail(&error))?;
    let Some(profile) = file.profiles.remove(&name) else {
        let known: Vec<&str> = file.profiles.keys().map(String::as_str).collect();
        let text = format!("{} has no profile `{name}`", path.display());
        let help = match suggestion::nearest(&name, known.iter().copied()) {
            Some(near) => format!("there is `{near}`"),
            None => format!("it has: {}", known.join(", ")),
        };
        return Err(Failure::new(USAGE, text).help(help));
    };
    Ok(merged(args, profile, path.parent().unwrap_or(&here)))
}

fn merged(args: BackendArgs, profile: Profile, directory: &Path) -> BackendArgs {
    let below = |path: PathBuf| directory.join(path);
    let given =
        |name: &str| args.images.iter().any(|text| text.split_once('=').is_some_and(|(of, _)| of == name));
    let images =
        profile.image.into_iter().filter(|(name, _)| !given(name)).map(|(name, source)| {
            match source.strip_prefix("bin:") {
                Some(path) => format!("{name}=bin:{}", directory.join(path).display()),
                None => format!("{name}={source}"),
            }
        });
    let images: Vec<String> = images.collect();
    BackendArgs {
        profile: None,
        backend: args.backend.or(profile.backend),
        kubeconfig: args.kubeconfig.or(profile.kubeconfig.map(below)),
        context: args.context.or(profile.context),
        allow_context: args.allow_context.or(profile.allow_context),
        node_image: args.node_image.or(profile.node_image),
        load: if args.load.is_empty() { profile.load.into_iter().map(below).collect() } else { args.load },
        keep: args.keep || profile.keep,
        images: images.into_iter().chain(args.images).collect(),
        owner_token_file: args.owner_token_file.or(profile.owner_token_file.map(below)),
        owner_domain: args.owner_domain.or(profile.owner_domain),
        crds: args.crds.or(profile.crds.map(below)),
        agent: args.agent.or(profile.agent),
        clouds: if args.clouds.is_empty() { profile.cloud } else { args.clouds },
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::cli::{Cli, Command};

    fn args(more: &[&str]) -> BackendArgs {
        match Cli::parse_from(["xtask", "up"].iter().chain(more)).command {
            Command::Up(args) => args.backend,
            _ => unreachable!("`up` was given"),
        }
    }

    fn profile(text: &str) -> Profile {
        let mut file: File = toml::from_str(text).unwrap();
        file.profiles.remove("p").unwrap()
    }

    #[test]
    fn paths_are_relative_to_the_file_and_the_command_line_wins_for_what_it_names() {
        let text = "[profiles.p]\nbackend = \"kind\"\nload = [\"images.tar\"]\nagent = \"2026-02\"\n\
                    owner-token-file = \"token\"\nowner-domain = \"d\"\n\
                    image = { plexd = \"bin:plexd\", vault = \"image:vault:1\" }\n";
        let merged = merged(
            args(&["--image", "vault=stand-in", "--agent", "current"]),
            profile(text),
            Path::new("/at"),
        );
        assert_eq!(merged.backend.as_deref(), Some("kind"));
        assert_eq!(merged.load, [PathBuf::from("/at/images.tar")]);
        assert_eq!(merged.images, ["plexd=bin:/at/plexd", "vault=stand-in"]);
        assert_eq!(merged.agent.as_deref(), Some("current"));
        assert_eq!(merged.owner_token_file, Some(PathBuf::from("/at/token")));
        assert_eq!(merged.owner_domain.as_deref(), Some("d"));
    }

    #[test]
    fn a_key_that_is_no_option_is_refused_by_name() {
        let wrong = toml::from_str::<File>("[profiles.p]\nbackends = \"kind\"\n").unwrap_err();
        assert!(wrong.to_string().contains("unknown field `backends`"), "{wrong}");
    }
}
