//! Clouds: secret stores that a stack has besides Vault when it is asked for them, and what leads programs there.
//!
//! Owns: which clouds there are, their objects (`kind/clouds/`), credentials and certificates, the environment of the
//! External Secrets Operator. Does not own: what the stores do, which the stand-ins own, nor who is to use one.
//!
//! ```text
//! Pod external-secrets ── HTTPS_PROXY ──▶ internet ──▶ azure    https://….vault.azure.net, login.microsoftonline.com,
//!          │                                │                     http://169.254.169.254
//!          │                                └─────────▶ google   https://secretmanager.googleapis.com, …
//!          ├── AWS_…_ENDPOINT ───────────────────────▶ aws      as AWS's clients are pointed elsewhere
//!          └── GCE_METADATA_HOST ────────────────────▶ google   which no proxy is asked for
//! ```
//!
//! So manifests of people name the real addresses, as they would anywhere.

pub mod access;
pub mod certificates;
pub mod google;
pub mod secrets;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::Path;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::stack::manifests::{ManifestError, parse_file};

/// The namespace of the stand-ins.
pub const NAMESPACE: &str = "clouds";
/// Where the proxy listens.
pub const PROXY_PORT: u16 = 3128;
/// The authority of the certificates, below the stack's directory.
pub const AUTHORITY: &str = "clouds-ca.crt";
/// The tenant of the Azure stand-in.
pub const AZURE_TENANT: &str = "f55471fd-1e93-48b1-91d8-1bd1d46351b0";
/// The vault whose secrets the nodes' own identity may read, and that nothing else of the stack uses.
pub const AZURE_NODES_VAULT: &str = "kv-kevinryan-io";
/// The vault that the operator's application may read, too, and that nothing else of the stack uses.
pub const AZURE_TEAM_VAULT: &str = "myvault";
/// The vault of the Azure stand-in that `azure-backend` reads.
pub const AZURE_VAULT: &str = "kv-plexlab";
/// Account of the AWS stand-in.
pub const AWS_ACCOUNT: &str = "123456789012";
/// Region of the AWS stand-in's first secrets.
pub const AWS_REGION: &str = "us-east-1";
/// The project of the Google stand-in.
pub const GOOGLE_PROJECT: &str = "plexlab";

/// A cloud with a secret store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Cloud {
    /// AWS: Secrets Manager, Parameter Store.
    Aws,
    /// Azure: Key Vault.
    Azure,
    /// Google Cloud: Secret Manager.
    Google,
}

/// A name that is none of a cloud.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("there is no cloud `{0}`; there are {known}", known = Cloud::ALL.map(Cloud::name).join(", "))]
pub struct UnknownCloud(String);

impl Cloud {
    /// All.
    pub const ALL: [Cloud; 3] = [Cloud::Aws, Cloud::Azure, Cloud::Google];

    /// The name on the command line; also of its pods, Service and image.
    pub fn name(self) -> &'static str {
        match self {
            Cloud::Aws => "aws",
            Cloud::Azure => "azure",
            Cloud::Google => "google",
        }
    }

    /// The port of its Service.
    pub fn port(self) -> u16 {
        match self {
            Cloud::Aws => 4566,
            Cloud::Azure => 8443,
            Cloud::Google => 8444,
        }
    }

    /// The ClusterSecretStore that reads its store.
    pub fn store(self) -> &'static str {
        match self {
            Cloud::Aws => "aws-backend",
            Cloud::Azure => "azure-backend",
            Cloud::Google => "google-backend",
        }
    }

    /// The host of its Service.
    fn host(self) -> String {
        format!("{}.{NAMESPACE}.svc.cluster.local", self.name())
    }

    /// Hosts of the world that it answers for; their certificates name them.
    fn hosts(self) -> &'static [&'static str] {
        match self {
            // AWS's clients are told its address.
            Cloud::Aws => &[],
            Cloud::Azure => &["*.vault.azure.net", "login.microsoftonline.com", "169.254.169.254"],
            // Regional hosts have one more label, which a certificate's star does not stand for.
            Cloud::Google => &[
                "*.googleapis.com",
                "secretmanager.europe-west1.rep.googleapis.com",
                "secretmanager.europe-west3.rep.googleapis.com",
                "secretmanager.europe-west4.rep.googleapis.com",
                "secretmanager.us-central1.rep.googleapis.com",
                "secretmanager.us-east1.rep.googleapis.com",
            ],
        }
    }
}

impl fmt::Display for Cloud {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Cloud {
    type Err = UnknownCloud;

    fn from_str(text: &str) -> Result<Self, UnknownCloud> {
        let found = Self::ALL.into_iter().find(|cloud| cloud.name() == text);
        found.ok_or_else(|| UnknownCloud(text.to_owned()))
    }
}

/// Where the customer keeps secrets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Keeper {
    /// In Vault, which every stack has.
    Vault,
    /// In a cloud's store.
    Cloud(Cloud),
}

impl Keeper {
    /// All, Vault first.
    pub fn all() -> impl Iterator<Item = Self> {
        std::iter::once(Self::Vault).chain(Cloud::ALL.map(Self::Cloud))
    }

    /// The name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Vault => "vault",
            Self::Cloud(cloud) => cloud.name(),
        }
    }

    /// The ClusterSecretStore that reads it.
    pub fn store(self) -> &'static str {
        match self {
            Self::Vault => "vault-backend",
            Self::Cloud(cloud) => cloud.store(),
        }
    }

    /// The cloud that a stack has to have for it.
    pub fn cloud(self) -> Option<Cloud> {
        match self {
            Self::Vault => None,
            Self::Cloud(cloud) => Some(cloud),
        }
    }
}

impl fmt::Display for Keeper {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The clouds of a stack.
pub type Clouds = BTreeSet<Cloud>;

/// The images of the clouds' pods, each with the stand-in's name.
pub const IMAGES: [(&str, &str); 4] = [
    ("plexlab.dev/internet:dev", "internet"),
    ("plexlab.dev/aws:dev", "aws"),
    ("plexlab.dev/azure:dev", "azure"),
    ("plexlab.dev/google:dev", "google"),
];

/// File below `kind/clouds/` and its content.
type File = (&'static str, &'static str);

const FOUNDATION: File = ("internet.yaml", include_str!("../../../kind/clouds/internet.yaml"));

fn file(cloud: Cloud) -> File {
    match cloud {
        Cloud::Aws => ("aws.yaml", include_str!("../../../kind/clouds/aws.yaml")),
        Cloud::Azure => ("azure.yaml", include_str!("../../../kind/clouds/azure.yaml")),
        Cloud::Google => ("google.yaml", include_str!("../../../kind/clouds/google.yaml")),
    }
}

/// The objects of these clouds; none for none. The proxy leads to further hosts by `more_routes`.
///
/// # Errors
/// [`ManifestError`] when a file is not YAML.
pub fn objects(clouds: &Clouds, more_routes: Vec<String>) -> Result<Vec<Value>, ManifestError> {
    if clouds.is_empty() {
        return Ok(Vec::new());
    }
    let mut objects = parse_file(FOUNDATION)?;
    for cloud in clouds {
        objects.extend(parse_file(file(*cloud))?);
    }
    let more_routes = more_routes.into_iter().map(|route| format!("--route={route}"));
    let routes: Vec<Value> = routes(clouds).into_iter().chain(more_routes).map(Value::from).collect();
    for object in &mut objects {
        let of_proxy = object["kind"] == "Deployment" && object["metadata"]["name"] == "internet";
        let arguments = object.pointer_mut("/spec/template/spec/containers/0/args");
        if let (true, Some(Value::Array(arguments))) = (of_proxy, arguments) {
            arguments.extend(routes.clone());
        }
    }
    Ok(objects)
}

fn routes(clouds: &Clouds) -> Vec<String> {
    let of = |cloud: &Cloud| {
        let cloud = *cloud;
        let route = move |host: &&str| format!("--route={host}={}:{}", cloud.host(), cloud.port());
        cloud.hosts().iter().map(route).collect::<Vec<_>>()
    };
    clouds.iter().flat_map(of).collect()
}

/// The names of the stand-ins' pods, proxy included.
pub fn workloads(clouds: &Clouds) -> Vec<&'static str> {
    let proxy = (!clouds.is_empty()).then_some("internet");
    proxy.into_iter().chain(clouds.iter().map(|cloud| cloud.name())).collect()
}

/// What an image of the External Secrets Operator has in its environment, so that it reaches these clouds; whoever
/// installs it. Empty for no clouds.
pub fn environment(clouds: &Clouds, authority: &Path) -> BTreeMap<String, String> {
    let mut variables = BTreeMap::new();
    if clouds.is_empty() {
        return variables;
    }
    let proxy = format!("http://internet.{NAMESPACE}.svc.cluster.local:{PROXY_PORT}");
    let mut set = |name: &str, value: String| variables.insert(name.to_owned(), value);
    set("HTTP_PROXY", proxy.clone());
    set("HTTPS_PROXY", proxy);
    set("NO_PROXY", ".svc,.cluster.local".to_owned());
    set("SSL_CERT_FILE", authority.display().to_string());
    if clouds.contains(&Cloud::Aws) {
        let url = format!("http://{}:{}", Cloud::Aws.host(), Cloud::Aws.port());
        for name in ["AWS_SECRETSMANAGER_ENDPOINT", "AWS_SSM_ENDPOINT", "AWS_STS_ENDPOINT"] {
            set(name, url.clone());
        }
    }
    if clouds.contains(&Cloud::Google) {
        // Google's library asks the metadata server past every proxy.
        set("GCE_METADATA_HOST", format!("{}:{}", Cloud::Google.host(), Cloud::Google.port()));
    }
    variables
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stack_without_clouds_has_nothing_of_them() {
        let none = Clouds::new();
        assert!(objects(&none, Vec::new()).unwrap().is_empty() && workloads(&none).is_empty());
        assert!(environment(&none, Path::new("/ca")).is_empty());
    }

    #[test]
    fn each_cloud_has_its_pod_and_its_store_and_its_images_are_known() {
        for cloud in Cloud::ALL {
            let objects = objects(&Clouds::from([cloud]), Vec::new()).unwrap();
            let named = |kind: &str, name: &str| {
                objects.iter().any(|object| object["kind"] == kind && object["metadata"]["name"] == name)
            };
            assert!(named("Deployment", cloud.name()) && named("Deployment", "internet"), "{cloud}");
            assert!(named("Service", cloud.name()) && named("ClusterSecretStore", cloud.store()), "{cloud}");
            let text = serde_json::to_string(&objects).unwrap();
            assert!(text.contains(&format!("plexlab.dev/{cloud}:dev")), "{cloud}");
            assert!(IMAGES.iter().any(|(image, applet)| *applet == cloud.name() && text.contains(image)));
            assert_eq!(cloud.name().parse::<Cloud>().unwrap(), cloud);
        }
        assert!("gpc".parse::<Cloud>().unwrap_err().to_string().contains("aws, azure, google"));
    }
}
