//! XML in, XML out, as plain data.

pub mod answer;
