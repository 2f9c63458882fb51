//! What processes cost.

use std::time::Duration;

/// The processor time of a process, of all its threads; `/proc` counts in hundredths of a second.
pub(crate) fn time(pid: u32) -> Duration {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let after_name = text.rsplit_once(") ").unwrap().1;
    let ticks: u64 = after_name
        .split(' ')
        .skip(11)
        .take(2)
        .map(|field| field.parse::<u64>().unwrap())
        .sum();
    Duration::from_millis(ticks * 10)
}
