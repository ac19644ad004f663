//! Image sources: what runs when a manifest names an image.
//!
//! `--image NAME=SOURCE` chooses per component: `stand-in` (the default), `bin:PATH` (a local
//! executable), `image:REF` (a registry image; container backends only), `url:URL` (something that
//! already runs). The names are the stack's components, not image references.

use std::collections::BTreeMap;
use std::fmt;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::str::FromStr;

use reqwest::Url;
use serde::Serialize;

use crate::agents::Generation;
use crate::owner::OwnerAccess;
use crate::stack::definitions::Definitions;

/// A part of the stack whose program can be chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Component {
    /// The database. Always a real Postgres.
    Postgres,
    /// The control plane, plexsphere.
    ControlPlane,
    /// The identity provider, Dex.
    Idp,
    /// The secret store, Vault.
    Vault,
    /// External Secrets Operator.
    ExternalSecrets,
    /// Crossplane with the provider and functions of the blueprints.
    Crossplane,
    /// The node agent, plexd.
    Plexd,
}

impl Component {
    /// All components, in the order in which a stack starts them.
    pub const ALL: [Component; 7] = [
        Component::Postgres,
        Component::ControlPlane,
        Component::Idp,
        Component::Vault,
        Component::ExternalSecrets,
        Component::Crossplane,
        Component::Plexd,
    ];

    /// The name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Component::Postgres => "postgres",
            Component::ControlPlane => "control-plane",
            Component::Idp => "idp",
            Component::Vault => "vault",
            Component::ExternalSecrets => "external-secrets",
            Component::Crossplane => "crossplane",
            Component::Plexd => "plexd",
        }
    }

    /// The name of its workload and the value of its pods' label `app.kubernetes.io/name`.
    pub fn workload(self) -> &'static str {
        match self {
            Component::ControlPlane => "plexsphere",
            Component::Idp => "dex",
            other => other.name(),
        }
    }

    /// The image reference that `kind/stack/` gives this component.
    pub fn image(self) -> &'static str {
        match self {
            Component::Postgres => "postgres:16-alpine",
            Component::ControlPlane => "plexlab.dev/control-plane:dev",
            Component::Idp => "plexlab.dev/idp:dev",
            Component::Vault => "plexlab.dev/vault:dev",
            Component::ExternalSecrets => "plexlab.dev/external-secrets:dev",
            Component::Crossplane => "plexlab.dev/crossplane:dev",
            Component::Plexd => "plexlab.dev/plexd:dev",
        }
    }
}

impl fmt::Display for Component {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Where a component's program comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "source", content = "value")]
pub enum ImageSource {
    /// plexlab's own reference implementation (Postgres: the machine's real one).
    StandIn,
    /// A local executable; an absolute path.
    Bin(PathBuf),
    /// A registry image.
    Image(String),
    /// Something that already runs; the base URL, without a slash at its end.
    Url(String),
}

impl fmt::Display for ImageSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ImageSource::StandIn => f.write_str("stand-in"),
            ImageSource::Bin(path) => write!(f, "bin:{}", path.display()),
            ImageSource::Image(reference) => write!(f, "image:{reference}"),
            ImageSource::Url(url) => write!(f, "url:{url}"),
        }
    }
}

/// One `--image NAME=SOURCE`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageChoice {
    /// Whose program.
    pub component: Component,
    /// From where.
    pub source: ImageSource,
}

/// Why an `--image` argument is not understood or cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ImageError {
    /// No `=` in it.
    #[error("`{0}` is not NAME=SOURCE, for example plexd=bin:./plexd")]
    NotAPair(String),
    /// The name is none of the components.
    #[error("there is no component `{name}`; the components are {known}")]
    UnknownComponent {
        /// What was given.
        name: String,
        /// What there is.
        known: String,
    },
    /// The source has none of the known forms.
    #[error(
        "`{0}` is no image source; the sources are stand-in, bin:PATH, image:REF and url:URL \
         (for example plexd=bin:./plexd)"
    )]
    UnknownSource(String),
    /// The URL is none that a client could be given.
    #[error("`{url}` cannot be attached to: {why}; give http://HOST:PORT or https://HOST")]
    BadUrl {
        /// What was given.
        url: String,
        /// What is wrong with it.
        why: String,
    },
    /// The executable cannot be run.
    #[error("`{path}` cannot be run: {why}; give the path of an executable file")]
    NotExecutable {
        /// The path that was given.
        path: String,
        /// Why not.
        why: String,
    },
}

impl FromStr for ImageChoice {
    type Err = ImageError;

    fn from_str(text: &str) -> Result<Self, ImageError> {
        let (name, source) = text.split_once('=').ok_or_else(|| ImageError::NotAPair(text.to_owned()))?;
        let component = Component::ALL.into_iter().find(|component| component.name() == name);
        let component = component.ok_or_else(|| ImageError::UnknownComponent {
            name: name.to_owned(),
            known: Component::ALL.map(Component::name).join(", "),
        })?;
        let source = match source.split_once(':') {
            None if source == "stand-in" => ImageSource::StandIn,
            Some(("bin", path)) if !path.is_empty() => ImageSource::Bin(executable(path)?),
            Some(("image", reference)) if !reference.is_empty() => ImageSource::Image(reference.to_owned()),
            Some(("url", url)) if !url.is_empty() => ImageSource::Url(base_url(url)?),
            _ => return Err(ImageError::UnknownSource(source.to_owned())),
        };
        Ok(ImageChoice { component, source })
    }
}

/// The base of a server's paths.
fn base_url(text: &str) -> Result<String, ImageError> {
    let refuse = |url: &str, why: &str| ImageError::BadUrl { url: url.to_owned(), why: why.to_owned() };
    let url: Url = text.parse().map_err(|error| refuse(text, &format!("{error}")))?;
    if !["http", "https"].contains(&url.scheme()) || url.host_str().is_none() {
        return Err(refuse(text, "it is no URL of HTTP"));
    }
    // What is in the place of a password is not repeated.
    if !url.username().is_empty() || url.password().is_some() {
        return Err(refuse(url.host_str().unwrap_or_default(), "it has a user in it"));
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err(refuse(text, "it has more than a path behind the host"));
    }
    Ok(url.as_str().trim_end_matches('/').to_owned())
}

fn executable(path: &str) -> Result<PathBuf, ImageError> {
    let refuse = |why: String| ImageError::NotExecutable { path: path.to_owned(), why };
    let absolute = std::fs::canonicalize(path).map_err(|error| refuse(error.to_string()))?;
    let metadata = std::fs::metadata(&absolute).map_err(|error| refuse(error.to_string()))?;
    if !metadata.is_file() {
        return Err(refuse("it is not a file".into()));
    }
    if metadata.permissions().mode() & 0o111 == 0 {
        return Err(refuse("it is not executable".into()));
    }
    Ok(absolute)
}

/// The choice for every component.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Images {
    #[serde(flatten)]
    sources: BTreeMap<Component, ImageSource>,
    /// What `--crds` gave.
    #[serde(skip_serializing_if = "Option::is_none")]
    definitions: Option<Definitions>,
    /// What `--agent` said of the agent's program.
    #[serde(skip_serializing_if = "Option::is_none")]
    agent: Option<Generation>,
    /// Who the owner is at a control plane that runs elsewhere.
    #[serde(skip_serializing_if = "Option::is_none")]
    owner: Option<OwnerAccess>,
}

impl Images {
    /// Stand-ins, but for the choices given; of two choices for one component the later wins.
    pub fn new(choices: impl IntoIterator<Item = ImageChoice>) -> Self {
        let sources = choices.into_iter().map(|choice| (choice.component, choice.source)).collect();
        Self { sources, definitions: None, agent: None, owner: None }
    }

    /// With these definitions in place of those of the External Secrets stand-in.
    pub fn with_definitions(self, definitions: Option<Definitions>) -> Self {
        Self { definitions, ..self }
    }

    /// With an agent of this generation.
    pub fn with_agent(self, agent: Option<Generation>) -> Self {
        Self { agent, ..self }
    }

    /// With this owner at a control plane that runs elsewhere.
    pub fn with_owner(self, owner: Option<OwnerAccess>) -> Self {
        Self { owner, ..self }
    }

    /// The owner at a control plane that runs elsewhere, if one was named.
    pub fn owner(&self) -> Option<&OwnerAccess> {
        self.owner.as_ref()
    }

    /// The base URL of a control plane that runs elsewhere.
    pub fn remote_control_plane(&self) -> Option<&str> {
        match self.source(Component::ControlPlane) {
            ImageSource::Url(url) => Some(url),
            _ => None,
        }
    }

    /// Whether the stack does without a component: a control plane that runs elsewhere has its own database and
    /// identity provider there.
    pub fn is_elsewhere(&self, component: Component) -> bool {
        let of_the_control_plane = [Component::ControlPlane, Component::Postgres, Component::Idp];
        self.remote_control_plane().is_some() && of_the_control_plane.contains(&component)
    }

    /// What `--agent` said.
    pub fn agent(&self) -> Option<Generation> {
        self.agent
    }

    /// The generations of which the agent may be one: all, when it is not plexlab's own and nobody said which.
    pub fn generations(&self) -> &'static [Generation] {
        match self.agent {
            Some(Generation::Current) => &[Generation::Current],
            Some(Generation::February2026) => &[Generation::February2026],
            None if self.is_stand_in(Component::Plexd) => &[Generation::Current],
            None => &Generation::ALL,
        }
    }

    /// The definitions chosen for External Secrets, if any were.
    pub fn definitions(&self) -> Option<&Definitions> {
        self.definitions.as_ref()
    }

    /// The source of a component.
    pub fn source(&self, component: Component) -> &ImageSource {
        self.sources.get(&component).unwrap_or(&ImageSource::StandIn)
    }

    /// Whether a component is plexlab's own.
    pub fn is_stand_in(&self, component: Component) -> bool {
        *self.source(component) == ImageSource::StandIn
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case("plexd", "NAME=SOURCE")]
    #[case("plexx=stand-in", "the components are postgres, control-plane")]
    #[case("plexd=podman:x", "the sources are stand-in, bin:PATH")]
    #[case("plexd=bin:", "the sources are stand-in, bin:PATH")]
    #[case("plexd=bin:/no/such/file", "cannot be run")]
    #[case("plexd=bin:/", "it is not a file")]
    #[case("plexd=bin:/etc/passwd", "it is not executable")]
    #[case("control-plane=url:staging", "relative URL without a base")]
    #[case("control-plane=url:ftp://staging", "it is no URL of HTTP")]
    #[case("control-plane=url:https://staging/?x=1", "more than a path behind the host")]
    #[case(
        "control-plane=url:https://me:canary@staging",
        "`staging` cannot be attached to: it has a user in it"
    )]
    fn a_wrong_choice_is_refused_with_what_would_be_right(#[case] text: &str, #[case] hint: &str) {
        let message = text.parse::<ImageChoice>().unwrap_err().to_string();
        assert!(message.contains(hint), "{message}");
    }

    #[test]
    fn an_agent_of_which_nothing_is_known_may_be_of_any_generation() {
        let own = Images::default();
        assert_eq!(own.generations(), [Generation::Current]);
        let other = Images::new(["plexd=bin:/bin/sh".parse().unwrap()]);
        assert_eq!(other.generations(), Generation::ALL);
        let known = other.with_agent(Some(Generation::February2026));
        assert_eq!(known.generations(), [Generation::February2026]);
    }

    #[test]
    fn a_control_plane_elsewhere_takes_its_database_and_identity_provider_with_it() {
        let images = Images::new(["control-plane=url:https://staging.example/".parse().unwrap()]);
        assert_eq!(images.remote_control_plane(), Some("https://staging.example"));
        let elsewhere: Vec<_> =
            Component::ALL.into_iter().filter(|component| images.is_elsewhere(*component)).collect();
        assert_eq!(elsewhere, [Component::Postgres, Component::ControlPlane, Component::Idp]);
        assert!(!Component::ALL.into_iter().any(|component| Images::default().is_elsewhere(component)));
    }

    #[test]
    fn the_later_choice_for_a_component_wins() {
        let choices = ["plexd=stand-in", "plexd=bin:/bin/sh"].map(|text| text.parse().unwrap());
        let images = Images::new(choices);
        assert!(matches!(images.source(Component::Plexd), ImageSource::Bin(_)));
        assert!(images.is_stand_in(Component::Vault));
    }
}
