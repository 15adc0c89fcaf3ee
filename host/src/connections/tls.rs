//! The host's certificate and key, out of PEM files. What is wrong with them is said at the start, in words.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use rustls::crypto::ring;
use rustls::pki_types::pem::{Error as PemError, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{Error, ServerConfig};

/// What is wrong with the files, and which of them.
#[derive(Debug)]
pub struct TlsError(String);

impl fmt::Display for TlsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for TlsError {}

/// Reads a certificate, with those that vouch for it after it, and its key. Clients choose between HTTP/2 and HTTP/1.1.
pub fn load(certificates: &Path, key: &Path) -> Result<ServerConfig, TlsError> {
    let chain = read_certificates(certificates)?;
    let private_key = PrivateKeyDer::from_pem_file(key).map_err(|error| unreadable(key, "private key", &error))?;
    let builder = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()));
    let builder = builder.with_safe_default_protocol_versions().map_err(|error| TlsError(error.to_string()))?;
    let config = builder.with_no_client_auth().with_single_cert(chain, private_key);
    let mut config = config.map_err(|error| match error {
        Error::InconsistentKeys(_) => TlsError(format!(
            "the key in {} is not that of the first certificate in {}",
            key.display(),
            certificates.display()
        )),
        other => TlsError(format!("{} with {} cannot be used: {other}", certificates.display(), key.display())),
    })?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(config)
}

fn read_certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let chain: Result<Vec<_>, _> = CertificateDer::pem_file_iter(path).and_then(Iterator::collect);
    let chain = chain.map_err(|error| unreadable(path, "certificate", &error))?;
    if chain.is_empty() { Err(unreadable(path, "certificate", &PemError::NoItemsFound)) } else { Ok(chain) }
}

fn unreadable(path: &Path, what: &str, error: &PemError) -> TlsError {
    let path = path.display();
    TlsError(match error {
        PemError::Io(error) => format!("{path} cannot be read: {error}"),
        PemError::NoItemsFound => format!("there is no {what} in {path}; a PEM file with one is wanted"),
        other => format!("{path} is no PEM file with a {what}: {other}"),
    })
}
