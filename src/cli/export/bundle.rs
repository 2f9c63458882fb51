//! A bundle, signed if there is a key to sign it with.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use super::directory::TargetFault;
use crate::bundle::{Bundle, BundleError, BundleWriter, Label, Signer, Signers};
use crate::store::Learned;

/// With what a bundle is signed.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct Signing {
    /// Sign the bundle with this secret key of minisign
    #[arg(long, value_name = "FILE")]
    sign: Option<PathBuf>,

    /// The file whose first line is the password of that key; not needed for one that was made with `minisign -G -W`
    #[arg(long, value_name = "FILE", requires = "sign")]
    password_file: Option<PathBuf>,
}

impl Signing {
    /// Whether anything is to be signed.
    pub(super) fn is_asked_for(&self) -> bool {
        self.sign.is_some()
    }

    /// The signer; `None` where none is asked for.
    ///
    /// # Errors
    /// What is wrong with the key or the password, and what to do.
    fn signer(&self) -> Result<Option<Signer>, String> {
        let read = |path: &Path| {
            let text = fs::read_to_string(path);
            text.map_err(|error| format!("cannot read {}: {error}", path.display()))
        };
        let Some(key) = &self.sign else {
            return Ok(None);
        };
        let password = self.password_file.as_deref().map(read).transpose()?;
        let password = password.as_deref().and_then(|text| text.lines().next());
        let signer = Signer::from_text(&read(key)?, password);
        signer.map(Some).map_err(|fault| {
            format!(
                "cannot sign with {}: {fault}. Give a secret key that `minisign -G` made, and its password with --password-file",
                key.display()
            )
        })
    }
}

/// The bundle that is being written.
pub(super) struct BundleFile {
    writer: BundleWriter,
    signer: Option<Signer>,
}

impl BundleFile {
    /// Begins one; whatever has that name must be a bundle.
    pub(super) fn create(target: &Path, signing: &Signing) -> Result<BundleFile, TargetFault> {
        let refused = |error| TargetFault::Refused {
            path: target.to_owned(),
            error,
        };
        if let Ok(found) = fs::metadata(target)
            && found.len() > 0
            && is_no_bundle(target)
        {
            let path = target.to_owned();
            return Err(TargetFault::Taken { path });
        }
        let signer = signing.signer().map_err(TargetFault::Signing)?;
        let generator = concat!("capsd ", env!("CARGO_PKG_VERSION"));
        let writer = BundleWriter::create(target, SystemTime::now(), generator);
        Ok(BundleFile {
            writer: writer.map_err(refused)?,
            signer,
        })
    }

    /// Adds a content.
    pub(super) fn add(&mut self, learned: &Learned) -> io::Result<()> {
        let Learned { info, keys, nodes } = learned;
        let added = self.writer.add(info, keys, nodes, &Label::default());
        added.map(|_| ())
    }

    /// Signs it and gives it its name.
    pub(super) fn finish(self) -> io::Result<()> {
        self.writer.finish(self.signer.as_ref()).map(|_| ())
    }
}

/// Whether something is there that is not even a damaged bundle.
fn is_no_bundle(path: &Path) -> bool {
    // Whoever signed it does not matter for this.
    let signers = Signers::new(&[], true).unwrap_or_default();
    matches!(
        Bundle::open(path, &signers),
        Err(BundleError::NotABundle | BundleError::Unreadable(_))
    )
}
