//! What goes wrong between an address and a host before anything is said: nobody there, TLS on one side alone, certificates.

use std::fmt;
use std::io::{Error, ErrorKind};
use std::time::Duration;

use reqwest::{Client, ClientBuilder};
use rustls::{ClientConfig, RootCertStore};

use super::ClientError;

/// How long a handshake may take that only shows whether there is one.
pub(super) const HANDSHAKE_MAX: Duration = Duration::from_secs(3);
/// Names a file of certificates to trust in place of the system's.
const CERTIFICATES: &str = "SSL_CERT_FILE";

/// Why a host cannot be reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Trouble {
    /// What is there speaks `http`, and the address says `https`.
    NoTls,
    /// The other way round.
    OnlyTls,
    /// The host shows the certificate of an authority as its own, as self-signed ones often are.
    AuthorityAsHost,
    /// Nobody who is trusted here has issued its certificate.
    UnknownIssuer,
    /// Nobody at all is trusted here.
    NobodyTrusted,
    /// The certificate is for other names; which.
    OtherName(String),
    /// The certificate is not valid any more, or not yet; when it is.
    OutOfDate(String),
    /// Nobody is there, or the connection broke; in the words of the system.
    Other(String),
}

impl Trouble {
    /// The trouble behind this innermost cause, in the words of the system or of the TLS library.
    pub(super) fn of(scheme: &str, cause: String) -> Self {
        if scheme != "https" {
            return Self::Other(cause);
        }
        let about_certificate = cause.strip_prefix("invalid peer certificate: ");
        match about_certificate {
            // How the library says that it was answered in clear text.
            None if cause.contains("InvalidContentType") => Self::NoTls,
            None => Self::Other(cause),
            Some(what) if what.contains("CaUsedAsEndEntity") => Self::AuthorityAsHost,
            // The second where an authority of the same name is trusted, as self-signed ones of the same tool are.
            Some(what) if what.contains("UnknownIssuer") || what.contains("BadSignature") => Self::UnknownIssuer,
            Some(what) if what.contains("not valid for name") => Self::OtherName(without_its_name(what)),
            Some(what) if what.contains("expired") || what.contains("not valid yet") => {
                Self::OutOfDate(without_its_name(what))
            }
            Some(_) => Self::Other(cause),
        }
    }
}

impl Trouble {
    /// The trouble of a client that cannot even be made.
    pub(super) fn of_builder(cause: String) -> Self {
        if cause.contains("No CA certificates") { Self::NobodyTrusted } else { Self::Other(cause) }
    }
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoTls => f.write_str("what is there speaks http, not https"),
            Self::OnlyTls => f.write_str("what is there speaks https, not http"),
            Self::AuthorityAsHost => {
                f.write_str("its certificate is one for issuing others (CA:TRUE), and cannot be a host's own")
            }
            Self::NobodyTrusted => f.write_str("this machine has no certificates of authorities to trust"),
            Self::UnknownIssuer => f.write_str("nobody who is trusted on this machine has issued its certificate"),
            Self::OtherName(what) | Self::OutOfDate(what) => write!(f, "its certificate is refused: {what}"),
            Self::Other(cause) => f.write_str(cause),
        }
    }
}

fn without_its_name(what: &str) -> String {
    what.strip_prefix("certificate ").unwrap_or(what).to_owned()
}

/// Whether a request in clear text fails like this where TLS is spoken: the answer is an alert, or none.
pub(super) fn may_be_tls(cause: &str) -> bool {
    cause.contains("invalid HTTP version") || cause.contains("connection closed before message completed")
}

/// Makes a client for addresses of this scheme. A host in clear text can be reached from a machine that trusts nobody: what is built in
/// stands for its certificates then, for a redirection, and to see who speaks TLS where clear text was expected.
pub(super) fn build(builder: impl Fn() -> ClientBuilder, scheme: &str) -> Result<reqwest::Result<Client>, ClientError> {
    if scheme == "https" {
        return check_certificates_named().map(|()| builder().build());
    }
    Ok(builder().build().or_else(|_| {
        let roots = RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.into() };
        let tls = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
        builder().tls_backend_preconfigured(tls).build()
    }))
}

/// A file of certificates that is named and cannot be used would count as none, and say nothing.
fn check_certificates_named() -> Result<(), ClientError> {
    let Some(path) = std::env::var_os(CERTIFICATES).filter(|path| !path.is_empty()) else { return Ok(()) };
    let read = std::fs::read(&path).and_then(|bytes| {
        let holds_one = bytes.windows(BEGIN.len()).any(|window| window == BEGIN);
        holds_one.then_some(()).ok_or_else(|| Error::new(ErrorKind::InvalidData, "there is no certificate in it"))
    });
    let what = || format!("use the certificates in {}, which {CERTIFICATES} names", path.to_string_lossy());
    read.map_err(|error| ClientError::File(what(), error))
}

/// How a certificate begins in a PEM file.
const BEGIN: &[u8] = b"-----BEGIN CERTIFICATE-----";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_certificate_lacks_is_known_by_name() {
        let of = |what: &str| Trouble::of("https", format!("invalid peer certificate: {what}"));
        assert_eq!(of("Other(OtherError(CaUsedAsEndEntity))"), Trouble::AuthorityAsHost);
        assert_eq!(of("UnknownIssuer"), Trouble::UnknownIssuer);
        assert!(matches!(of("certificate not valid for name \"a\"; it is for b"), Trouble::OtherName(_)));
        assert!(matches!(of("certificate expired: verification time 1"), Trouble::OutOfDate(_)));
        assert!(matches!(of("BadEncoding"), Trouble::Other(_)));
        assert_eq!(Trouble::of("http", "refused".to_owned()), Trouble::Other("refused".to_owned()));
    }
}
