//! The credentials at a stack's clouds, which each stack draws anew, and the Secrets that carry them.
//!
//! Two parties have some: the External Secrets Operator, which may read, and the customer, who may do everything.

use rand::RngExt as _;
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::{Value, json};

use super::certificates::Certificates;
use super::google::{KeyError, ServiceAccount};
use super::{
    AWS_ACCOUNT, AWS_REGION, AZURE_NODES_VAULT, AZURE_TEAM_VAULT, AZURE_TENANT, AZURE_VAULT, Cloud, Clouds,
    GOOGLE_PROJECT, NAMESPACE,
};
use crate::redact::Redactor;

/// The issuer of the cluster's service-account tokens.
const ISSUER: &str = "https://kubernetes.default.svc";
/// The API server as a pod finds it, with the keys of those tokens.
const KEYS: &str = "https://$(KUBERNETES_SERVICE_HOST):$(KUBERNETES_SERVICE_PORT)/openid/v1/jwks";
/// The application of the operator at Azure.
pub const AZURE_READER: &str = "11111111-2222-3333-4444-555555555555";
/// The application of the customer at Azure.
pub const AZURE_WRITER: &str = "99999999-2222-3333-4444-555555555555";
/// The identity of the nodes at Azure.
pub const AZURE_IDENTITY: &str = "00000000-0000-0000-0000-000000000001";

/// The name of the operator's service account at Google.
const GOOGLE_READER: &str = "external-secrets";
/// The name of the customer's service account at Google.
const GOOGLE_WRITER: &str = "customer";

/// An access key of AWS.
#[derive(Debug, Clone)]
pub struct AccessKey {
    /// Its id, not secret.
    pub id: String,
    /// What requests are signed with.
    pub secret: SecretString,
}

/// The service accounts of Google Cloud.
#[derive(Debug, Clone)]
pub struct GoogleAccounts {
    /// The operator's.
    pub reader: ServiceAccount,
    /// The customer's.
    pub writer: ServiceAccount,
}

/// Credentials could not be drawn.
#[derive(Debug, thiserror::Error)]
pub enum DrawError {
    /// The certificates.
    #[error("make the clouds' certificates: {0}")]
    Certificates(#[from] rcgen::Error),
    /// The keys of Google's service accounts.
    #[error(transparent)]
    Key(#[from] KeyError),
}

/// The credentials of one stack.
#[derive(Debug, Clone)]
pub struct CloudSecrets {
    /// The clouds that the stack has.
    pub clouds: Clouds,
    /// The operator's at AWS.
    pub aws_reader: AccessKey,
    /// The customer's at AWS.
    pub aws_writer: AccessKey,
    /// The operator's at Azure.
    pub azure_reader: SecretString,
    /// The customer's at Azure.
    pub azure_writer: SecretString,
    /// Google's; none in a stack without it, as finding keys takes a moment.
    pub google: Option<GoogleAccounts>,
    /// What the stand-ins serve.
    pub certificates: Certificates,
}

impl CloudSecrets {
    /// Draws new ones and registers them for redaction.
    ///
    /// # Errors
    /// When the system has no randomness for certificates and keys.
    pub fn draw(clouds: &Clouds, redactor: &Redactor) -> Result<Self, DrawError> {
        let secret = |length| {
            let text = text(length);
            redactor.register(&text);
            SecretString::from(text)
        };
        let access_key = || AccessKey { id: format!("AKIA{}", text(16).to_uppercase()), secret: secret(40) };
        Ok(Self {
            clouds: clouds.clone(),
            aws_reader: access_key(),
            aws_writer: access_key(),
            azure_reader: secret(40),
            azure_writer: secret(40),
            google: match clouds.contains(&Cloud::Google) {
                true => Some(GoogleAccounts {
                    reader: ServiceAccount::draw(GOOGLE_READER, redactor)?,
                    writer: ServiceAccount::draw(GOOGLE_WRITER, redactor)?,
                }),
                false => None,
            },
            certificates: Certificates::make()?,
        })
    }

    /// Values for a plan that is only printed.
    pub fn placeholders(clouds: &Clouds) -> Self {
        let drawn = "<drawn at start>";
        let access_key = || AccessKey { id: drawn.into(), secret: drawn.into() };
        Self {
            clouds: clouds.clone(),
            aws_reader: access_key(),
            aws_writer: access_key(),
            azure_reader: drawn.into(),
            azure_writer: drawn.into(),
            google: clouds.contains(&Cloud::Google).then(|| GoogleAccounts {
                reader: ServiceAccount::placeholder(GOOGLE_READER),
                writer: ServiceAccount::placeholder(GOOGLE_WRITER),
            }),
            certificates: Certificates::placeholders(),
        }
    }

    /// The Secret objects that hold them.
    pub fn objects(&self) -> Vec<Value> {
        if self.clouds.is_empty() {
            return Vec::new();
        }
        let secret = |namespace: &str, name: &str, data: Value| {
            json!({
                "apiVersion": "v1",
                "kind": "Secret",
                "metadata": {"name": name, "namespace": namespace},
                "type": "Opaque",
                "stringData": data,
            })
        };
        let certificates = &self.certificates;
        let mut objects = vec![secret(
            NAMESPACE,
            "clouds-tls",
            json!({
                "ca.crt": certificates.authority,
                "tls.crt": certificates.certificate,
                "tls.key": certificates.key.expose_secret(),
            }),
        )];
        for cloud in &self.clouds {
            let (settings, credentials) = match cloud {
                Cloud::Aws => (self.aws(), access_key(&self.aws_reader)),
                Cloud::Azure => (
                    self.azure(),
                    json!({"client-id": AZURE_READER, "client-secret": self.azure_reader.expose_secret()}),
                ),
                Cloud::Google => {
                    let Some(accounts) = &self.google else { continue };
                    (
                        google(accounts, self.clouds.contains(&Cloud::Aws)),
                        json!({"key.json": accounts.reader.file().to_string()}),
                    )
                }
            };
            let settings = json!({"settings.yaml": settings.to_string()});
            objects.push(secret(NAMESPACE, &format!("{cloud}-settings"), settings));
            objects.push(secret("external-secrets", &format!("{cloud}-credentials"), credentials));
        }
        objects
    }

    /// The operator's user reads what the how-to puts there; a role of the same name is for service accounts.
    fn aws(&self) -> Value {
        let reads = json!([
            {"actions": ["secretsmanager:Get*", "secretsmanager:List*", "secretsmanager:BatchGet*", "secretsmanager:Describe*"]},
            {"actions": ["ssm:Get*", "ssm:Describe*"]},
            {"actions": ["sts:*"]},
        ]);
        let user = |name: &str, key: &AccessKey| json!({"name": name, "access_key_id": key.id, "secret_access_key": key.secret.expose_secret()});
        let mut reader = user("external-secrets", &self.aws_reader);
        reader["allow"] = reads.clone();
        json!({
            "account": AWS_ACCOUNT,
            "region": AWS_REGION,
            "users": [reader, user("customer", &self.aws_writer)],
            "roles": [{
                "name": "external-secrets",
                "users": ["external-secrets"],
                "subjects": ["system:serviceaccount:*"],
                "allow": reads,
            }],
            "identity_providers": [{"issuer": ISSUER, "jwks_url": KEYS}],
        })
    }

    fn azure(&self) -> Value {
        let reads = json!({AZURE_VAULT: ["get", "list"], AZURE_TEAM_VAULT: ["get", "list"]});
        let federated: Vec<Value> = [
            "external-secrets:external-secrets",
            "default:external-secrets",
            "team-x:external-secrets",
        ]
        .iter()
        .map(|account| json!({"issuer": ISSUER, "subject": format!("system:serviceaccount:{account}")}))
        .collect();
        json!({
            "tenant": AZURE_TENANT,
            "applications": [
                {
                    "client_id": AZURE_READER,
                    "secrets": [{"value": self.azure_reader.expose_secret()}],
                    "federated": federated,
                    "vaults": reads,
                },
                {"client_id": AZURE_WRITER, "secrets": [{"value": self.azure_writer.expose_secret()}]},
            ],
            "managed_identities": [{"client_id": AZURE_IDENTITY, "vaults": {AZURE_NODES_VAULT: ["get", "list"]}}],
            "issuers": [{"issuer": ISSUER, "jwks_url": KEYS}],
            "vaults": [{"name": AZURE_VAULT}, {"name": AZURE_NODES_VAULT}, {"name": AZURE_TEAM_VAULT}],
        })
    }
}

/// The operator's account reads everything; pods of the operator may take its place. Identities of the stack's own AWS
/// are known where there is one.
fn google(accounts: &GoogleAccounts, with_aws: bool) -> Value {
    let account = |account: &ServiceAccount| json!({"email": account.email, "keys": [{"id": account.key_id, "jwk": account.jwk}]});
    let bound = |role: &str, to: &ServiceAccount| {
        let members = [format!("serviceAccount:{}", to.email)];
        json!({"role": format!("roles/secretmanager.{role}"), "members": members})
    };
    let mut reader = account(&accounts.reader);
    reader["impersonators"] =
        ["external-secrets/external-secrets", "default/external-secrets", "team-x/external-secrets"]
            .iter()
            .map(|pod| format!("serviceAccount:{GOOGLE_PROJECT}.svc.id.goog[{pod}]"))
            .collect();
    let mut pools = vec![json!({"pool": "plexlab", "provider": "cluster", "issuer": ISSUER})];
    if with_aws {
        let token_service = format!("http://{}:{}", Cloud::Aws.host(), Cloud::Aws.port());
        let aws = json!({"account": AWS_ACCOUNT, "token_service": token_service});
        pools.push(json!({"pool": "plexlab", "provider": "aws", "aws": aws}));
    }
    json!({
        "project": GOOGLE_PROJECT,
        "accounts": [reader, account(&accounts.writer)],
        "bindings": [
            bound("viewer", &accounts.reader),
            bound("secretAccessor", &accounts.reader),
            bound("admin", &accounts.writer),
        ],
        "machine": accounts.reader.email,
        "cluster": {"name": "plexlab", "location": "europe-west3", "issuer": ISSUER},
        "pools": pools,
        "issuers": [{"issuer": ISSUER, "jwks_url": KEYS}],
    })
}

fn access_key(key: &AccessKey) -> Value {
    json!({"access-key-id": key.id, "secret-access-key": key.secret.expose_secret()})
}

/// Letters and digits of base 32.
fn text(length: usize) -> String {
    const LETTERS: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";
    let mut random = rand::rng();
    (0..length).map(|_| char::from(LETTERS[random.random_range(0..LETTERS.len())])).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_credential_is_kept_out_of_outputs() {
        let redactor = Redactor::default();
        let all: Clouds = Cloud::ALL.into();
        let secrets = CloudSecrets::draw(&all, &redactor).unwrap();
        let text = redactor.redact(&serde_json::to_string(&secrets.objects()).unwrap()).into_owned();
        let drawn = [
            &secrets.aws_reader.secret,
            &secrets.aws_writer.secret,
            &secrets.azure_reader,
            &secrets.azure_writer,
        ];
        for secret in drawn {
            assert!(!text.contains(secret.expose_secret()));
            assert!(!format!("{secrets:?}").contains(secret.expose_secret()));
        }
        let accounts = secrets.google.as_ref().unwrap();
        for account in [&accounts.reader, &accounts.writer] {
            let second_line = account.private_key.expose_secret().lines().nth(1).unwrap();
            assert!(!text.contains(second_line) && !format!("{secrets:?}").contains(second_line));
        }
        assert!(CloudSecrets::draw(&Clouds::new(), &redactor).unwrap().objects().is_empty());
    }
}
