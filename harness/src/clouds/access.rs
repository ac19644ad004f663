//! What a person's tools need to be the customer at a stack's clouds: variables, and the files that they name.
//!
//! ```text
//! <stack>/clouds-env.json      the variables (0600)
//! <stack>/google-key.json      the key of the customer's service account, as Google hands it out (0600)
//! <stack>/clouds-ca.crt        the authority of the clouds' certificates
//! ```
//!
//! The proxy is not set as such (`HTTPS_PROXY`): a shell in which it is reaches nothing else any more.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;

use secrecy::ExposeSecret as _;

use super::secrets::{AZURE_WRITER, CloudSecrets};
use super::{AUTHORITY, AWS_REGION, AZURE_TENANT, Cloud, GOOGLE_PROJECT};
use crate::paths::write_private_file;
use crate::stack::running::Addresses;

/// The file with the variables, below the stack's directory.
const VARIABLES: &str = "clouds-env.json";
/// The key of the customer's service account at Google.
const GOOGLE_KEY: &str = "google-key.json";

/// Writes the files of a stack that has clouds.
///
/// # Errors
/// When a file cannot be written.
pub fn write(dir: &Path, addresses: &Addresses, secrets: &CloudSecrets) -> io::Result<()> {
    if secrets.clouds.is_empty() {
        return Ok(());
    }
    if let Some(accounts) = &secrets.google {
        write_private_file(&dir.join(GOOGLE_KEY), accounts.writer.file().to_string().as_bytes())?;
    }
    let variables = serde_json::to_vec(&variables(dir, addresses, secrets))?;
    write_private_file(&dir.join(VARIABLES), &variables)
}

/// The variables of a stack; none for one without clouds.
///
/// # Errors
/// When the file is there and cannot be read.
pub fn read(dir: &Path) -> io::Result<BTreeMap<String, String>> {
    match std::fs::read(dir.join(VARIABLES)) {
        Ok(bytes) => Ok(serde_json::from_slice(&bytes)?),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(BTreeMap::new()),
        Err(error) => Err(error),
    }
}

fn variables(dir: &Path, addresses: &Addresses, secrets: &CloudSecrets) -> BTreeMap<&'static str, String> {
    let path = |name: &str| dir.join(name).display().to_string();
    let mut variables = BTreeMap::from([("PLEXLAB_CLOUDS_CA", path(AUTHORITY))]);
    variables.extend(addresses.internet.clone().map(|url| ("PLEXLAB_CLOUDS_PROXY", url)));
    for cloud in &secrets.clouds {
        match cloud {
            Cloud::Aws => {
                let url = addresses.clouds.get(cloud).cloned();
                variables.extend(url.map(|url| ("AWS_ENDPOINT_URL", url)));
                variables.extend([
                    ("AWS_REGION", AWS_REGION.to_owned()),
                    // The name that boto and the command line look at.
                    ("AWS_DEFAULT_REGION", AWS_REGION.to_owned()),
                    ("AWS_ACCESS_KEY_ID", secrets.aws_writer.id.clone()),
                    ("AWS_SECRET_ACCESS_KEY", secrets.aws_writer.secret.expose_secret().to_owned()),
                ]);
            }
            Cloud::Azure => variables.extend([
                ("AZURE_TENANT_ID", AZURE_TENANT.to_owned()),
                ("AZURE_CLIENT_ID", AZURE_WRITER.to_owned()),
                ("AZURE_CLIENT_SECRET", secrets.azure_writer.expose_secret().to_owned()),
            ]),
            Cloud::Google => variables.extend([
                ("GOOGLE_CLOUD_PROJECT", GOOGLE_PROJECT.to_owned()),
                ("GOOGLE_APPLICATION_CREDENTIALS", path(GOOGLE_KEY)),
            ]),
        }
    }
    variables
}
