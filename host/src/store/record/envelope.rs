//! The envelope around every value, which finds what disks do to it, and how large a value may be.
//!
//! Every value is `[version][crc32][bytes]` and at most [`VALUE_BYTES_MAX`] long: sled 0.34 moves larger nodes into
//! files that it never syncs, and a power cut then makes the whole database unopenable. `within_bounds` is the
//! one place that enforces it.

use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::store::StoreError;

/// No value in sled is larger.
const VALUE_BYTES_MAX: usize = 4096;
/// How payloads are cut; with the envelope safely below [`VALUE_BYTES_MAX`].
pub(in crate::store) const CHUNK_BYTES: usize = 4000;
pub(super) const VERSION: u8 = 1;
const ENVELOPE_BYTES: usize = 5;
/// What a small job's record takes, so that it is written without growing.
const USUAL_BYTES: usize = 384;

/// Puts the envelope around a value.
pub(in crate::store) fn seal(value: &[u8]) -> Result<Vec<u8>, StoreError> {
    let mut sealed = Vec::with_capacity(ENVELOPE_BYTES + value.len());
    sealed.push(VERSION);
    sealed.extend_from_slice(&crc32fast::hash(value).to_le_bytes());
    sealed.extend_from_slice(value);
    within_bounds(sealed)
}

fn within_bounds(sealed: Vec<u8>) -> Result<Vec<u8>, StoreError> {
    if sealed.len() > VALUE_BYTES_MAX {
        return Err(StoreError::Refused(format!("a record of {} bytes is too large to be stored", sealed.len())));
    }
    Ok(sealed)
}

/// Takes the envelope off, or says what is wrong with it.
pub(super) fn unseal(sealed: &[u8]) -> Result<&[u8], StoreError> {
    match unseal_any(sealed)? {
        (VERSION, value) => Ok(value),
        (version, _) => Err(unknown_version(version)),
    }
}

/// Takes the envelope off, whichever version it says the value has.
pub(super) fn unseal_any(sealed: &[u8]) -> Result<(u8, &[u8]), StoreError> {
    let (head, value) =
        sealed.split_at_checked(ENVELOPE_BYTES).ok_or_else(|| StoreError::damaged("a value is cut short"))?;
    if head[1..] != crc32fast::hash(value).to_le_bytes() {
        return Err(StoreError::damaged("a value does not match its checksum"));
    }
    Ok((head[0], value))
}

pub(super) fn unknown_version(version: u8) -> StoreError {
    StoreError::damaged(format!("a value has the unknown version {version}"))
}

/// A record in its envelope.
pub(in crate::store) fn encode<T: Serialize>(record: &T) -> Result<Vec<u8>, StoreError> {
    encode_as(VERSION, record)
}

/// Encodes into the envelope, where [`seal`] would copy what was encoded.
pub(super) fn encode_as<T: Serialize>(version: u8, record: &T) -> Result<Vec<u8>, StoreError> {
    let mut envelope = Vec::with_capacity(ENVELOPE_BYTES + USUAL_BYTES);
    envelope.extend_from_slice(&[version, 0, 0, 0, 0]);
    let mut sealed = postcard::to_extend(record, envelope).map_err(|error| StoreError::Refused(error.to_string()))?;
    let checksum = crc32fast::hash(&sealed[ENVELOPE_BYTES..]);
    sealed[1..ENVELOPE_BYTES].copy_from_slice(&checksum.to_le_bytes());
    within_bounds(sealed)
}

/// A record without its envelope, to stand in another.
pub(in crate::store) fn encode_here<T: Serialize>(record: &T) -> Result<Bytes, StoreError> {
    postcard::to_stdvec(record).map(Bytes::from).map_err(|error| StoreError::Refused(error.to_string()))
}

/// A record out of its envelope.
pub(in crate::store) fn decode<T: DeserializeOwned>(sealed: &[u8]) -> Result<T, StoreError> {
    decode_value(unseal(sealed)?)
}

pub(super) fn decode_value<T: DeserializeOwned>(value: &[u8]) -> Result<T, StoreError> {
    postcard::from_bytes(value).map_err(|error| StoreError::damaged(format!("a record cannot be decoded: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_envelope_finds_every_flipped_bit() {
        let sealed = seal(b"precious").expect("small enough");
        assert_eq!(unseal(&sealed).ok(), Some(b"precious".as_slice()));
        for bit in 0..sealed.len() * 8 {
            let mut damaged = sealed.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert!(unseal(&damaged).is_err(), "bit {bit}");
        }
        assert!(unseal(&sealed[..3]).is_err());
    }

    #[test]
    fn no_value_larger_than_4_kib_is_ever_sealed() {
        assert!(seal(&vec![0; VALUE_BYTES_MAX - ENVELOPE_BYTES]).is_ok());
        assert!(seal(&vec![0; VALUE_BYTES_MAX - ENVELOPE_BYTES + 1]).is_err());
        const { assert!(CHUNK_BYTES + ENVELOPE_BYTES <= VALUE_BYTES_MAX) };
    }
}
