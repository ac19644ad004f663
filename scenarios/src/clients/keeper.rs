//! The customer at the secret store of a run, whichever it is: put an entry, replace it, take it away.
//!
//! Vault and AWS name entries by paths; Azure's and Google's names know no slash, so the path's slashes become dashes.

use plexlab_harness::clouds::{Cloud, Keeper};
use plexlab_harness::run::Failure;
use plexlab_harness::stack::running::RunningStack;
use secrecy::SecretString;

use super::aws::{Aws, AwsError};
use super::azure::Azure;
use super::google::Google;
use super::rest::RestError;
use super::vault::{Vault, VaultError};

/// The store did not take a request.
#[derive(Debug, thiserror::Error)]
pub enum KeeperError {
    /// Vault.
    #[error(transparent)]
    Vault(#[from] VaultError),
    /// AWS.
    #[error(transparent)]
    Aws(#[from] AwsError),
    /// Azure, Google.
    #[error(transparent)]
    Rest(#[from] RestError),
}

/// A client with all rights.
#[derive(Debug, Clone)]
pub enum Customer {
    /// At Vault.
    Vault(Vault),
    /// At AWS Secrets Manager.
    Aws(Aws),
    /// At Azure Key Vault.
    Azure(Azure),
    /// At Google's Secret Manager.
    Google(Google),
}

impl Customer {
    /// Of the store that a run is about.
    ///
    /// # Errors
    /// When the stack has no such store, or a client cannot be made.
    pub fn of(stack: &RunningStack, keeper: Keeper, http: &reqwest::Client) -> Result<Self, Failure> {
        let secrets = &stack.secrets;
        match keeper {
            Keeper::Vault => {
                Ok(Self::Vault(Vault::new(http.clone(), &stack.addresses.vault, secrets.vault_token.clone())))
            }
            Keeper::Cloud(Cloud::Aws) => {
                let base = control(stack, keeper)?;
                Ok(Self::Aws(Aws::new(http.clone(), &base, secrets.clouds.aws_writer.clone())))
            }
            Keeper::Cloud(Cloud::Azure) => {
                let (proxy, authority) = way(stack)?;
                Ok(Self::Azure(Azure::new(&proxy, &authority, secrets.clouds.azure_writer.clone())?))
            }
            Keeper::Cloud(Cloud::Google) => {
                let (proxy, authority) = way(stack)?;
                let accounts = secrets.clouds.google.as_ref();
                let accounts = accounts.ok_or_else(|| Failure::expected("an account at Google", "none"))?;
                Ok(Self::Google(Google::new(&proxy, &authority, accounts.writer.clone())?))
            }
        }
    }

    /// The entry's name in this store.
    pub fn entry(&self, path: &str) -> String {
        match self {
            Self::Vault(_) | Self::Aws(_) => path.to_owned(),
            Self::Azure(_) | Self::Google(_) => path.replace('/', "-"),
        }
    }

    /// Writes the entry, or a new version of it, with one field `token`.
    ///
    /// # Errors
    /// When the store does not answer or refuses.
    pub async fn put_token(&self, path: &str, token: &SecretString) -> Result<(), KeeperError> {
        let name = self.entry(path);
        match self {
            Self::Vault(vault) => vault.put_token(&name, token).await?,
            Self::Aws(aws) => aws.put_token(&name, token).await?,
            Self::Azure(azure) => azure.put_token(&name, token).await?,
            Self::Google(google) => google.put_token(&name, token).await?,
        }
        Ok(())
    }

    /// Takes the entry away for good.
    ///
    /// # Errors
    /// When the store does not answer or refuses.
    pub async fn delete(&self, path: &str) -> Result<(), KeeperError> {
        let name = self.entry(path);
        match self {
            Self::Vault(vault) => vault.delete(&name).await?,
            Self::Aws(aws) => aws.delete(&name).await?,
            Self::Azure(azure) => azure.delete(&name).await?,
            Self::Google(google) => google.delete(&name).await?,
        }
        Ok(())
    }
}

/// The proxy that leads to the clouds, and the authority of their certificates.
fn way(stack: &RunningStack) -> Result<(String, Vec<u8>), Failure> {
    let proxy = stack.addresses.internet.clone();
    let proxy = proxy.ok_or_else(|| Failure::expected("a way to the clouds", "none"))?;
    Ok((proxy, std::fs::read(stack.cloud_authority())?))
}

/// Where the stand-in of a store has its test controls.
///
/// # Errors
/// When the stack does not have the store.
pub fn control(stack: &RunningStack, keeper: Keeper) -> Result<String, Failure> {
    match keeper {
        Keeper::Vault => Ok(stack.addresses.vault.clone()),
        Keeper::Cloud(cloud) => {
            let found = stack.addresses.clouds.get(&cloud).cloned();
            found.ok_or_else(|| Failure::expected(format!("a stack with {cloud}"), "it has none"))
        }
    }
}
