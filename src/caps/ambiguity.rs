//! The rule that a 0115 verification string must have exactly one reading.

use super::disco_info::DiscoInfo;

/// check
pub fn check(_info: &DiscoInfo) -> Result<(), String> {
    Ok(())
}
