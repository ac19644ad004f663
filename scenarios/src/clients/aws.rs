//! The customer at AWS Secrets Manager, as `aws secretsmanager --endpoint-url …` asks it: JSON 1.1, Signature Version 4.

use jiff::Timestamp;
use plexlab_harness::clouds::AWS_REGION;
use plexlab_harness::clouds::secrets::AccessKey;
use ring::{digest, hmac};
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::{Value, json};

/// The store did not take the request.
#[derive(Debug, thiserror::Error)]
pub enum AwsError {
    /// No answer.
    #[error("reach AWS: {0}")]
    Transport(#[from] reqwest::Error),
    /// A refusal.
    #[error("{operation} at Secrets Manager: status {status}: {body}")]
    Refused {
        /// The operation.
        operation: &'static str,
        /// Status.
        status: u16,
        /// Body, as AWS words its errors.
        body: String,
    },
}

/// A client with an access key.
#[derive(Debug, Clone)]
pub struct Aws {
    http: reqwest::Client,
    base: String,
    key: AccessKey,
}

/// What an error's body calls an entry that is not there yet.
const NOT_THERE: &str = "ResourceNotFoundException";

impl Aws {
    /// A client of the endpoint at `base`.
    pub fn new(http: reqwest::Client, base: &str, key: AccessKey) -> Self {
        Self { http, base: base.trim_end_matches('/').to_owned(), key }
    }

    /// `put-secret-value`, and `create-secret` where there is none.
    ///
    /// # Errors
    /// [`AwsError`].
    pub async fn put_token(&self, name: &str, token: &SecretString) -> Result<(), AwsError> {
        self.put(name, &json!({"token": token.expose_secret()}).to_string()).await
    }

    /// The same for a text.
    ///
    /// # Errors
    /// [`AwsError`].
    pub async fn put(&self, name: &str, value: &str) -> Result<(), AwsError> {
        match self.call("PutSecretValue", &json!({"SecretId": name, "SecretString": value})).await {
            Err(AwsError::Refused { body, .. }) if body.contains(NOT_THERE) => {
                self.call("CreateSecret", &json!({"Name": name, "SecretString": value})).await
            }
            other => other,
        }
    }

    /// `ssm put-parameter --type SecureString --overwrite`
    ///
    /// # Errors
    /// [`AwsError`].
    pub async fn put_parameter(&self, name: &str, value: &str) -> Result<(), AwsError> {
        let body = json!({"Name": name, "Value": value, "Type": "SecureString", "Overwrite": true});
        self.send(("ssm", "AmazonSSM", "PutParameter"), &body).await
    }

    /// `delete-secret --force-delete-without-recovery`
    ///
    /// # Errors
    /// [`AwsError`].
    pub async fn delete(&self, name: &str) -> Result<(), AwsError> {
        let body = json!({"SecretId": name, "ForceDeleteWithoutRecovery": true});
        self.call("DeleteSecret", &body).await
    }

    async fn call(&self, operation: &'static str, body: &Value) -> Result<(), AwsError> {
        self.send(("secretsmanager", "secretsmanager", operation), body).await
    }

    /// An operation of a service, by the service's names in signatures and in targets.
    async fn send(
        &self,
        (service, target, operation): (&str, &str, &'static str),
        body: &Value,
    ) -> Result<(), AwsError> {
        let body = body.to_string();
        let stamp = Timestamp::now().strftime("%Y%m%dT%H%M%SZ").to_string();
        let target = format!("{target}.{operation}");
        let host = self.base.split("://").last().unwrap_or_default();
        let headers = [
            ("content-type", "application/x-amz-json-1.1"),
            ("host", host),
            ("x-amz-date", stamp.as_str()),
            ("x-amz-target", target.as_str()),
        ];
        let authorization = signed((service, &self.key), &headers, &stamp, &body);
        let mut request = self.http.post(format!("{}/", self.base)).header("authorization", authorization);
        for (name, value) in headers.iter().filter(|(name, _)| *name != "host") {
            request = request.header(*name, *value);
        }
        let answer = request.body(body).send().await?;
        let status = answer.status();
        if status.is_success() {
            return Ok(());
        }
        let body = answer.text().await.unwrap_or_default();
        Err(AwsError::Refused { operation, status: status.as_u16(), body })
    }
}

/// The header `Authorization` of a POST to `/`; the headers are in order.
fn signed((service, key): (&str, &AccessKey), headers: &[(&str, &str)], stamp: &str, body: &str) -> String {
    let names = headers.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(";");
    let lines: String = headers.iter().map(|(name, value)| format!("{name}:{value}\n")).collect();
    let canonical = format!("POST\n/\n\n{lines}\n{names}\n{}", hash(body));
    let scope = format!("{}/{AWS_REGION}/{service}/aws4_request", &stamp[..8]);
    let text = format!("AWS4-HMAC-SHA256\n{stamp}\n{scope}\n{}", hash(&canonical));
    let mut secret = format!("AWS4{}", key.secret.expose_secret()).into_bytes();
    for part in scope.split('/') {
        secret = mac(&secret, part);
    }
    let signature = hex(&mac(&secret, &text));
    format!("AWS4-HMAC-SHA256 Credential={}/{scope}, SignedHeaders={names}, Signature={signature}", key.id)
}

fn mac(key: &[u8], text: &str) -> Vec<u8> {
    hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), text.as_bytes()).as_ref().to_vec()
}

fn hash(text: &str) -> String {
    hex(digest::digest(&digest::SHA256, text.as_bytes()).as_ref())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
