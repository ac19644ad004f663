//! The page's manifests, as printed in `page/`, and the corrections without which they do not work. Pure.
//!
//! | correction | why |
//! |---|---|
//! | `external-secrets.io/v1` for `v1beta1` | External Secrets 2 serves no other version |
//! | the addresses of Vault | the page's hosts are examples |
//! | the mount `kubernetes-demo` for `kubernetes` in the SecretStore | the page has two Vaults, the stack has one, and no Vault takes both `kubernetes` and `kubernetes/vcluster` |
//! | `enabled: true` for the stores' switches | as printed both are off, which is the page's own "not visible" |
//! | Google's project | the stack's has another name than the page's example |

use plexlab_harness::clouds::GOOGLE_PROJECT;
use plexlab_harness::run::Failure;
use serde::Deserialize as _;
use serde_json::Value;

/// A file of `page/`.
macro_rules! page {
    ($name:literal) => {
        include_str!(concat!("page/", $name))
    };
}

/// The ExternalSecret of the usage example.
pub const AWS_SECRET: &str = page!("aws-secret.yaml");
/// The store in the virtual cluster.
pub const SECRET_STORE: &str = page!("secret-store.yaml");
/// The host's store of the complete example.
pub const AWS_STORE: &str = page!("aws-secrets-manager.yaml");
/// The ExternalSecret of the complete example.
pub const DATABASE: &str = page!("database-credentials.yaml");
/// The host's store for Vault.
pub const VAULT_STORE: &str = page!("vault-backend.yaml");
/// The ExternalSecret for Vault.
pub const API_KEYS: &str = page!("api-keys.yaml");
/// The stores of several clouds.
pub const CLOUDS: &str = page!("multi-cloud.yaml");
/// The basic configuration.
pub const BASIC: &str = page!("values-basic.yaml");
/// The configuration that must not be.
pub const CONFLICT: &str = page!("values-conflict.yaml");
/// The advanced configuration.
const ADVANCED: &str = page!("values-advanced.yaml");
/// A configuration of a mode in which the integration is not supported.
pub const PRIVATE: &str =
    "privateNodes:\n  enabled: true\nintegrations:\n  externalSecrets:\n    enabled: true\n";

/// Where the SecretStore of the virtual cluster signs in.
pub const OTHER_MOUNT: &str = "kubernetes-demo";

/// The advanced configuration with stores in both directions.
pub fn advanced() -> String {
    ADVANCED
        .replace("        stores:\n          enabled: false", "        stores:\n          enabled: true")
        .replace(
            "        clusterStores:\n          enabled: false",
            "        clusterStores:\n          enabled: true",
        )
}

/// The documents of a manifest as printed.
///
/// # Errors
/// When it is not YAML.
pub fn printed(manifest: &str) -> Result<Vec<Value>, Failure> {
    let documents = serde_norway::Deserializer::from_str(manifest).map(Value::deserialize);
    Ok(documents.collect::<Result<_, _>>()?)
}

/// The same in the version that is served, with Vault's address and Google's project where the stack has them.
///
/// # Errors
/// When it is not YAML.
pub fn corrected(manifest: &str, vault: &str) -> Result<Vec<Value>, Failure> {
    let mut documents = printed(manifest)?;
    for document in &mut documents {
        document["apiVersion"] = "external-secrets.io/v1".into();
        if let Some(server) = document.pointer_mut("/spec/provider/vault/server") {
            *server = vault.into();
        }
        if let Some(project) = document.pointer_mut("/spec/provider/gcpsm/projectID") {
            *project = GOOGLE_PROJECT.into();
        }
        let mount = document.pointer_mut("/spec/provider/vault/auth/kubernetes/mountPath");
        if let Some(mount) = mount.filter(|mount| *mount == "kubernetes") {
            *mount = OTHER_MOUNT.into();
        }
    }
    Ok(documents)
}

/// An object with these labels.
pub fn labelled(mut object: Value, labels: &[(&str, &str)]) -> Value {
    for (key, value) in labels {
        object["metadata"]["labels"][*key] = (*value).into();
    }
    object
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_version_the_address_and_the_switches_are_changed() {
        let (before, after) = (printed(VAULT_STORE).unwrap(), corrected(VAULT_STORE, "http://v").unwrap());
        assert_eq!(before[0]["apiVersion"], "external-secrets.io/v1beta1");
        assert_eq!(after[0]["spec"]["provider"]["vault"]["server"], "http://v");
        assert_eq!(
            before[0]["spec"]["provider"]["vault"]["auth"],
            after[0]["spec"]["provider"]["vault"]["auth"]
        );
        let names: Vec<Value> =
            corrected(CLOUDS, "").unwrap().iter().map(|store| store["metadata"]["name"].clone()).collect();
        assert_eq!(names, ["aws-store", "azure-store", "gcp-store"]);
        let (before, after): (Value, Value) =
            (serde_norway::from_str(ADVANCED).unwrap(), serde_norway::from_str(&advanced()).unwrap());
        let switches = [
            "/integrations/externalSecrets/sync/toHost/stores/enabled",
            "/integrations/externalSecrets/sync/fromHost/clusterStores/enabled",
        ];
        for switch in switches {
            assert_eq!(
                (before.pointer(switch), after.pointer(switch)),
                (Some(&false.into()), Some(&true.into()))
            );
        }
    }
}
