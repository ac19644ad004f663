//! Keys and certificates of one real cluster. Made anew for each, kept in its directory (0600), and gone with it.
//!
//! ```text
//! <directory>/
//! ├── cluster-ca.crt                        kube-apiserver's and the kubelets' authority
//! ├── server.crt, server.key                kube-apiserver's serving certificate
//! ├── kubelet-client.crt, .key              how kube-apiserver is known to kubelets
//! ├── service-account.key, .pub             signs the tokens of service accounts
//! ├── etcd-ca.crt                           etcd's authority: nobody but kube-apiserver gets in
//! └── etcd.crt, etcd.key                    both ends of every connection to etcd
//! ```

use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, SanType,
};
use rustls::RootCertStore;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::server::WebPkiClientVerifier;

use crate::paths::write_private_file;

/// Names of the API server inside of a cluster.
const SERVER_NAMES: [&str; 5] = [
    "localhost",
    "kubernetes",
    "kubernetes.default",
    "kubernetes.default.svc",
    "kubernetes.default.svc.cluster.local",
];

/// Certificates could not be made or written.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    /// Not made.
    #[error("make the cluster's certificates: {0}")]
    Made(#[from] rcgen::Error),
    /// Not written.
    #[error("write {path}: {source}")]
    Written {
        /// Which file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The TLS library refused them.
    #[error("set up TLS of the kubelets: {0}")]
    Tls(String),
}

/// What others than the real programs need of them.
pub(super) struct Certificates {
    /// The API server's authority, PEM.
    pub(super) ca_pem: String,
    /// TLS of the kubelets' API: whoever comes in presents a certificate of the cluster's authority.
    pub(super) kubelets: Arc<rustls::ServerConfig>,
}

struct Authority {
    pem: String,
    certificate: rcgen::Certificate,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    fn make(name: &str) -> Result<Self, rcgen::Error> {
        let key = KeyPair::generate()?;
        let mut parameters = CertificateParams::default();
        parameters.distinguished_name.push(DnType::CommonName, name);
        parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        parameters.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
        let certificate = parameters.self_signed(&key)?;
        Ok(Self { pem: certificate.pem(), certificate, issuer: Issuer::new(parameters, key) })
    }

    fn leaf(
        &self,
        name: &str,
        addresses: &[IpAddr],
        usages: &[ExtendedKeyUsagePurpose],
    ) -> Result<(rcgen::Certificate, KeyPair), rcgen::Error> {
        let key = KeyPair::generate()?;
        let mut parameters = CertificateParams::new(SERVER_NAMES.map(str::to_owned).to_vec())?;
        parameters.subject_alt_names.extend(addresses.iter().map(|address| SanType::IpAddress(*address)));
        parameters.distinguished_name.push(DnType::CommonName, name);
        parameters.extended_key_usages = usages.to_vec();
        parameters.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        Ok((parameters.signed_by(&key, &self.issuer)?, key))
    }
}

/// Makes all of them in `directory`, for an API server at `addresses`.
pub(super) fn make(directory: &Path, addresses: &[IpAddr]) -> Result<Certificates, CertificateError> {
    let write = |name: &str, text: &str| {
        let path = directory.join(name);
        write_private_file(&path, text.as_bytes())
            .map_err(|source| CertificateError::Written { path, source })
    };
    let server = [ExtendedKeyUsagePurpose::ServerAuth];
    let client = [ExtendedKeyUsagePurpose::ClientAuth];
    let both = [ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];

    let cluster = Authority::make("kubernetes")?;
    write("cluster-ca.crt", &cluster.pem)?;
    let (certificate, key) = cluster.leaf("kube-apiserver", addresses, &server)?;
    write("server.crt", &certificate.pem())?;
    write("server.key", &key.serialize_pem())?;
    let (certificate, key) = cluster.leaf("kube-apiserver-kubelet-client", &[], &client)?;
    write("kubelet-client.crt", &certificate.pem())?;
    write("kubelet-client.key", &key.serialize_pem())?;

    let etcd = Authority::make("etcd")?;
    write("etcd-ca.crt", &etcd.pem)?;
    let (certificate, key) = etcd.leaf("etcd", addresses, &both)?;
    write("etcd.crt", &certificate.pem())?;
    write("etcd.key", &key.serialize_pem())?;

    let key = KeyPair::generate()?;
    write("service-account.key", &key.serialize_pem())?;
    write("service-account.pub", &key.public_key_pem())?;
    Ok(Certificates { kubelets: kubelets(&cluster)?, ca_pem: cluster.pem })
}

fn kubelets(cluster: &Authority) -> Result<Arc<rustls::ServerConfig>, CertificateError> {
    let fail = |error: &dyn std::fmt::Display| CertificateError::Tls(error.to_string());
    let mut roots = RootCertStore::empty();
    roots.add(cluster.certificate.der().clone()).map_err(|error| fail(&error))?;
    let verifier = WebPkiClientVerifier::builder(Arc::new(roots)).build().map_err(|error| fail(&error))?;
    let (certificate, key) = cluster.leaf("kubelet", &[], &[ExtendedKeyUsagePurpose::ServerAuth])?;
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let config = rustls::ServerConfig::builder()
        .with_client_cert_verifier(verifier)
        .with_single_cert(vec![certificate.der().clone()], key)
        .map_err(|error| fail(&error))?;
    Ok(Arc::new(config))
}
