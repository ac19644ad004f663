//! The device flow (contract: control plane, 2.3), and who the caller is.

use reqwest::{Method, StatusCode};
use secrecy::{ExposeSecret as _, SecretString};
use serde::Deserialize;
use serde_json::json;
use uuid::Uuid;

use super::{Plexsphere, PlexsphereError};

/// A device that waits for somebody's approval.
#[derive(Debug, Clone)]
pub struct WaitingDevice {
    /// What the device polls with.
    pub device_code: SecretString,
    /// The page to approve it on, code included.
    pub verification_uri_complete: String,
}

/// Who the caller is.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Whoami {
    /// `user` or `service`.
    pub principal_type: String,
    /// For example `user:<uuid>`.
    pub subject: String,
    /// E-mail address of a person.
    pub email: Option<String>,
}

impl Plexsphere {
    /// Begins a sign-in to a Domain by one of its identity-provider bindings.
    ///
    /// # Errors
    /// When the request is refused.
    pub async fn begin_device(&self, domain: Uuid, binding: Uuid) -> Result<WaitingDevice, PlexsphereError> {
        #[derive(Deserialize)]
        struct Begun {
            device_code: String,
            verification_uri_complete: String,
        }
        let body = json!({"domain_id": domain, "idp_binding_id": binding});
        let begun: Begun = self.call(Method::POST, "/v1/auth/device-code", Some(body)).await?;
        self.redactor().register(&begun.device_code);
        Ok(WaitingDevice {
            device_code: begun.device_code.into(),
            verification_uri_complete: begun.verification_uri_complete,
        })
    }

    /// Polls once for the device's token; none while it is still to be approved, or was polled too fast. Returns a
    /// client with the token.
    ///
    /// # Errors
    /// When the request is refused, for example because the approval was.
    pub async fn poll_device(&self, device: &WaitingDevice) -> Result<Option<Self>, PlexsphereError> {
        #[derive(Deserialize)]
        struct Token {
            access_token: String,
        }
        let body = json!({"device_code": device.device_code.expose_secret()});
        match self.call::<Token>(Method::POST, "/v1/auth/device-token", Some(body)).await {
            Ok(token) => Ok(Some(self.with_token(token.access_token.into()))),
            Err(PlexsphereError::Problem(problem))
                if problem.status == StatusCode::BAD_REQUEST
                    && matches!(problem.code.as_str(), "authorization_pending" | "slow_down") =>
            {
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// Who the caller is.
    ///
    /// # Errors
    /// When the request is refused.
    pub async fn whoami(&self) -> Result<Whoami, PlexsphereError> {
        self.call(Method::GET, "/v1/auth/whoami", None).await
    }
}
