//! The hash functions of both families, behind one function.

use blake2::Digest as _;
use blake2::digest::consts::U32;
use sha1::Digest as _;

use super::key::{Algorithm, CapsKey, Family, NodeError};

/// The key whose digest is that of `input`.
///
/// # Errors
/// [`NodeError::UnsupportedAlgorithm`] where the family does not know the algorithm.
pub fn key_of(family: Family, algorithm: Algorithm, input: &[u8]) -> Result<CapsKey, NodeError> {
    let new = |digest: &[u8]| CapsKey::new(family, algorithm, digest);
    match algorithm {
        Algorithm::Md5 => new(&md5::Md5::digest(input)),
        Algorithm::Sha1 => new(&sha1::Sha1::digest(input)),
        Algorithm::Sha224 => new(&sha2::Sha224::digest(input)),
        Algorithm::Sha256 => new(&sha2::Sha256::digest(input)),
        Algorithm::Sha384 => new(&sha2::Sha384::digest(input)),
        Algorithm::Sha512 => new(&sha2::Sha512::digest(input)),
        Algorithm::Sha3_256 => new(&sha3::Sha3_256::digest(input)),
        Algorithm::Sha3_512 => new(&sha3::Sha3_512::digest(input)),
        Algorithm::Blake2b256 => new(&blake2::Blake2b::<U32>::digest(input)),
        Algorithm::Blake2b512 => new(&blake2::Blake2b512::digest(input)),
    }
}
