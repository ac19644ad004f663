//! The authority of a stack's clouds and the certificate that their stand-ins serve. Made anew for each stack, valid
//! for the hosts of the world that they answer for, trusted by nobody but the stack's own programs.

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};
use secrecy::SecretString;

use super::Cloud;
use crate::flux::CHARTS;

/// Three PEM texts.
#[derive(Debug, Clone)]
pub struct Certificates {
    /// The authority.
    pub authority: String,
    /// The certificate.
    pub certificate: String,
    /// Its key.
    pub key: SecretString,
}

impl Certificates {
    /// Makes them.
    ///
    /// # Errors
    /// When the system has no randomness.
    pub fn make() -> Result<Self, rcgen::Error> {
        let ca_key = KeyPair::generate()?;
        let mut ca = CertificateParams::default();
        ca.distinguished_name.push(DnType::CommonName, "plexlab clouds");
        ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        ca.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let authority = ca.self_signed(&ca_key)?.pem();
        let issuer = Issuer::new(ca, ca_key);
        let key = KeyPair::generate()?;
        let hosts =
            Cloud::ALL.iter().flat_map(|cloud| cloud.hosts()).chain(&[CHARTS]).map(|host| (*host).to_owned());
        let mut serving = CertificateParams::new(hosts.collect::<Vec<_>>())?;
        serving.distinguished_name.push(DnType::CommonName, "plexlab cloud");
        serving.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        serving.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        serving.use_authority_key_identifier_extension = true;
        let certificate = serving.signed_by(&key, &issuer)?.pem();
        Ok(Self { authority, certificate, key: key.serialize_pem().into() })
    }

    /// For a plan that is only printed.
    pub fn placeholders() -> Self {
        let drawn = "<drawn at start>";
        Self { authority: drawn.into(), certificate: drawn.into(), key: drawn.into() }
    }
}
