//! The trusted tier.
