//! The host's certificate and key, out of PEM files: read at the start, where what is wrong with them is said in words, and
//! again whenever they have changed, as certificates are renewed while a host runs.

use std::fmt;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use rustls::crypto::CryptoProvider;
use rustls::crypto::ring;
use rustls::pki_types::pem::{Error as PemError, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{Error, ServerConfig};

/// How often the files are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// What is wrong with the files, and which of them.
#[derive(Debug)]
pub struct TlsError(String);

impl fmt::Display for TlsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for TlsError {}

/// A certificate, with those that vouch for it after it, and its key.
#[derive(Debug)]
pub struct Certificate {
    certificates: PathBuf,
    key: PathBuf,
    provider: Arc<CryptoProvider>,
    current: RwLock<Arc<CertifiedKey>>,
}

impl Certificate {
    /// Reads both files.
    pub fn open(certificates: PathBuf, key: PathBuf) -> Result<Arc<Self>, TlsError> {
        let provider = Arc::new(ring::default_provider());
        let current = RwLock::new(Arc::new(read(&certificates, &key, &provider)?));
        Ok(Arc::new(Self { certificates, key, provider, current }))
    }

    /// How to speak TLS with it. Clients choose between HTTP/2 and HTTP/1.1.
    pub fn config(self: &Arc<Self>) -> Result<ServerConfig, TlsError> {
        let builder = ServerConfig::builder_with_provider(Arc::clone(&self.provider));
        let builder = builder.with_safe_default_protocol_versions().map_err(|error| TlsError(error.to_string()))?;
        let resolver = Arc::<Self>::clone(self);
        let mut config = builder.with_no_client_auth().with_cert_resolver(resolver);
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(config)
    }

    /// Takes up files that have changed. Never returns.
    pub async fn keep_reading(self: Arc<Self>) {
        let (mut seen, mut failing) = (self.look(), false);
        loop {
            tokio::time::sleep(LOOK_EVERY).await;
            let own = Arc::clone(&self);
            let looked = tokio::task::spawn_blocking(move || {
                let now = own.look();
                (now != seen).then(|| (now, read(&own.certificates, &own.key, &own.provider)))
            });
            // A look that panicked is made again.
            let Ok(Some((now, read))) = looked.await else { continue };
            match read {
                Ok(key) => {
                    *self.current.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(key);
                    tracing::info!(certificate = %self.certificates.display(), "a new certificate is used");
                    (seen, failing) = (now, false);
                }
                // Two files are not replaced in one step: the next look may find them both.
                Err(error) if !failing => {
                    tracing::warn!(%error, "the certificate stays as it was");
                    failing = true;
                }
                Err(_) => {}
            }
        }
    }

    /// What tells one version of the files from another without reading them.
    fn look(&self) -> [Option<(u64, i64, i64)>; 2] {
        [&self.certificates, &self.key].map(|path| {
            let about = fs::metadata(path).ok()?;
            Some((about.ino(), about.mtime(), about.mtime_nsec()))
        })
    }
}

impl ResolvesServerCert for Certificate {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner)))
    }
}

fn read(certificates: &Path, key: &Path, provider: &CryptoProvider) -> Result<CertifiedKey, TlsError> {
    let chain: Result<Vec<_>, _> = CertificateDer::pem_file_iter(certificates).and_then(Iterator::collect);
    let chain = chain.map_err(|error| unreadable(certificates, "certificate", &error))?;
    if chain.is_empty() {
        return Err(unreadable(certificates, "certificate", &PemError::NoItemsFound));
    }
    let private_key = PrivateKeyDer::from_pem_file(key).map_err(|error| unreadable(key, "private key", &error))?;
    let (certificates, key) = (certificates.display(), key.display());
    CertifiedKey::from_der(chain, private_key, provider).map_err(|error| match error {
        Error::InconsistentKeys(_) => {
            TlsError(format!("the key in {key} is not that of the first certificate in {certificates}"))
        }
        other => TlsError(format!("{certificates} with {key} cannot be used: {other}")),
    })
}

fn unreadable(path: &Path, what: &str, error: &PemError) -> TlsError {
    let path = path.display();
    TlsError(match error {
        PemError::Io(error) => format!("{path} cannot be read: {error}"),
        PemError::NoItemsFound => format!("there is no {what} in {path}; a PEM file with one is wanted"),
        other => format!("{path} is no PEM file with a {what}: {other}"),
    })
}
