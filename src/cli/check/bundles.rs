//! The bundles that a configuration names, read from end to end.

use std::path::PathBuf;

use crate::bundle::{Bundle, BundleEntry, BundleError, Signers};
use crate::caps::{Policy, Verdict};
use crate::trusted::{Directory, Sources};

/// What a bundle comes to.
#[derive(Debug, Default)]
pub(super) struct CheckedBundle {
    pub(super) path: PathBuf,
    /// How many of its contents are what each of their keys means.
    pub(super) verified: u64,
    /// How many of those a stranger could not have taught.
    pub(super) waived: u64,
    /// Whether a key of the configuration signed it.
    pub(super) signed: bool,
    /// Why it is not used, or not all of it.
    pub(super) fault: Option<String>,
}

impl CheckedBundle {
    /// In words.
    pub(super) fn line(&self) -> String {
        let path = self.path.display();
        let signed = match self.signed {
            true => "signed",
            false => "not signed by any of trusted.public-keys",
        };
        let contents = format!(
            "{} contents are verified ({} of them waive a rule)",
            self.verified, self.waived
        );
        match &self.fault {
            None => format!("bundle {path}: {contents}, {signed}"),
            Some(fault) => format!("bundle {path}: {fault}"),
        }
    }
}

/// Checks every bundle in the directories, and those that are named besides.
pub(super) fn check_bundles(directories: &[Directory], sources: &Sources) -> Vec<CheckedBundle> {
    let check = |path: &PathBuf| {
        let mut checked = CheckedBundle {
            path: path.clone(),
            ..CheckedBundle::default()
        };
        if let Err(error) = check_bundle(&mut checked, &sources.signers) {
            checked.fault = Some(error.to_string());
        }
        checked
    };
    let listed = directories.iter().filter_map(|d| d.holds.as_ref().ok());
    let found = listed.flat_map(|(_, bundles)| bundles);
    found.chain(&sources.bundles).map(check).collect()
}

fn check_bundle(checked: &mut CheckedBundle, signers: &Signers) -> Result<(), BundleError> {
    let bundle = Bundle::open(&checked.path, signers)?;
    checked.signed = bundle.signed().is_some();
    let mut refused = 0;
    for entry in bundle.entries() {
        match waived(&entry?) {
            Some(waived) => {
                checked.verified += 1;
                checked.waived += u64::from(waived);
            }
            None => refused += 1,
        }
    }
    if refused > 0 {
        checked.fault = Some(format!(
            "{refused} contents are not what their keys mean, and are not served; {} are. Have its maker export it again",
            checked.verified
        ));
    }
    Ok(())
}

/// Whether a rule had to be waived for a content; `None` where it does not prove each of its keys.
fn waived(entry: &BundleEntry) -> Option<bool> {
    let policy = Policy::trusted();
    let mut waived = false;
    for key in &entry.keys {
        match entry.verified(key, &policy) {
            Verdict::Verified(info) => waived |= info.waived(),
            _ => return None,
        }
    }
    Some(waived)
}
