//! Signatures of webhooks, after the Standard Webhooks specification: HMAC-SHA256 over `id.timestamp.body`.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

/// What a secret begins with, so that people and scanners know it for what it is.
const PREFIX: &str = "whsec_";
/// Bytes of a secret.
const SECRET_BYTES: std::ops::RangeInclusive<usize> = 24..=64;

/// What messages are signed with. Not `Debug`, and shown nowhere.
pub struct Secret(Hmac<Sha256>);

/// What is wrong with a secret. Says nothing of what it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SecretError;

impl fmt::Display for SecretError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "expected {PREFIX} and {} to {} bytes in base 64", SECRET_BYTES.start(), SECRET_BYTES.end())
    }
}

impl std::error::Error for SecretError {}

impl Secret {
    /// Reads `whsec_` and 24 to 64 bytes in base 64.
    pub fn parse(text: &str) -> Result<Self, SecretError> {
        let encoded = text.strip_prefix(PREFIX).ok_or(SecretError)?;
        let key = STANDARD.decode(encoded).map_err(|_| SecretError)?;
        if !SECRET_BYTES.contains(&key.len()) {
            return Err(SecretError);
        }
        Hmac::new_from_slice(&key).map(Self).map_err(|_| SecretError)
    }
}

/// The signatures of a message, one for each secret: whoever verifies needs to know one of them.
pub(super) fn sign(secrets: &[Secret], id: &str, timestamp: i64, body: &[u8]) -> String {
    let signature = |Secret(keyed): &Secret| {
        let mut hmac = keyed.clone();
        hmac.update(format!("{id}.{timestamp}.").as_bytes());
        hmac.update(body);
        format!("v1,{}", STANDARD.encode(hmac.finalize().into_bytes()))
    };
    secrets.iter().map(signature).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret(bytes: usize) -> Result<Secret, SecretError> {
        Secret::parse(&format!("{PREFIX}{}", STANDARD.encode(vec![7; bytes])))
    }

    #[test]
    fn secrets_have_24_to_64_bytes_and_one_spelling() {
        assert!(secret(24).is_ok() && secret(64).is_ok());
        assert!(secret(23).is_err() && secret(65).is_err());
        let bare = STANDARD.encode([7; 32]);
        for text in
            ["", "whsec_", &bare, &format!("whsec_{bare}x"), &format!(" whsec_{bare}"), &format!("whsec-{bare}")]
        {
            assert!(Secret::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn another_implementation_makes_the_same_signature() {
        let text = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD";
        let theirs = standardwebhooks::Webhook::new(text).expect("a secret");
        let ours = [Secret::parse(text).expect("a secret"), secret(32).expect("a secret")];
        let body = "{\"x\": \"ü\"}";
        let expected = theirs.sign("msg_1", 1_649_367_553, body.as_bytes()).expect("it can be signed");
        let signatures = sign(&ours, "msg_1", 1_649_367_553, body.as_bytes());
        let (first, second) = signatures.split_once(' ').expect("two of them");
        assert_eq!(first, expected);
        assert!(second.starts_with("v1,") && second != first);
    }
}
