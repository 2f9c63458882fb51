//! Who signed a bundle, and whether that is enough.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use minisign::{SecretKey, SecretKeyBox};
use minisign_verify::{Error, PublicKey, Signature};

use super::BundleError;
use super::head::Unchecked;

/// Whose bundles are believed.
#[derive(Clone, Debug, Default)]
pub struct Signers {
    keys: Vec<PublicKey>,
    accept_unsigned: bool,
}

impl Signers {
    /// Those with these public keys of minisign (the second line of its `.pub` file). With `accept_unsigned` also whoever did not sign,
    /// or signed with another key; a signature by one of the keys must be right all the same.
    ///
    /// # Errors
    /// What is wrong with a key, and its place.
    pub fn new(keys: &[String], accept_unsigned: bool) -> Result<Signers, (usize, String)> {
        let keys = keys.iter().enumerate().map(|(place, key)| {
            PublicKey::from_base64(key).map_err(|error| (place, error.to_string()))
        });
        Ok(Signers {
            keys: keys.collect::<Result<_, _>>()?,
            accept_unsigned,
        })
    }

    /// Whether a head may be believed; the trusted comment of its signature, if it is signed by one of them.
    pub(super) fn check(&self, head: &Unchecked<'_>) -> Result<Option<String>, BundleError> {
        if head.signature.is_empty() {
            return match self.accept_unsigned {
                true => Ok(None),
                false => Err(BundleError::Unsigned),
            };
        }
        let signature =
            Signature::decode(head.signature).map_err(|_| BundleError::WrongSignature)?;
        for key in &self.keys {
            match key.verify(head.signed.as_bytes(), &signature, false) {
                Ok(()) => return Ok(Some(signature.trusted_comment().to_owned())),
                Err(Error::UnexpectedKeyId) => {}
                Err(_) => return Err(BundleError::WrongSignature),
            }
        }
        match self.accept_unsigned {
            true => Ok(None),
            false => Err(BundleError::UnknownSigner),
        }
    }
}

/// Signs bundles with a secret key of minisign.
pub struct Signer(SecretKey);

impl std::fmt::Debug for Signer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Signer").finish_non_exhaustive()
    }
}

impl Signer {
    /// The secret key in the text of a file that `minisign -G` made; the password where it has one, `None` where it was made with `-W`.
    ///
    /// Undoing the password takes about a second, as minisign means it to.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn from_text(key: &str, password: Option<&str>) -> Result<Signer, String> {
        let sealed = SecretKeyBox::from_string(key).map_err(|error| error.to_string())?;
        let secret = match password {
            Some(password) => sealed.into_secret_key(Some(password.to_owned())),
            None => match without_checksum(key) {
                Some(bytes) => SecretKey::from_bytes(&bytes),
                None => sealed.into_unencrypted_secret_key(),
            },
        };
        secret.map(Signer).map_err(|error| error.to_string())
    }

    /// The signature of a head.
    pub(super) fn sign(&self, head: &str) -> Result<String, String> {
        let comment = Some("bundle of capsd");
        let signature = minisign::sign(None, &self.0, head.as_bytes(), comment, comment);
        signature
            .map(minisign::SignatureBox::into_string)
            .map_err(|error| error.to_string())
    }
}

/// The bytes of a key without a password and without a checksum: so the tool writes it, while the library insists on a checksum.
fn without_checksum(key: &str) -> Option<Vec<u8>> {
    // What derives a key from the password: two zeros where there is none. The checksum is the end.
    let bytes = BASE64.decode(key.lines().nth(1)?.trim()).ok()?;
    let bare = bytes.get(2..4)? == [0; 2] && bytes.ends_with(&[0; 32]);
    bare.then_some(bytes)
}
