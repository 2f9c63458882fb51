//! Numbers, sizes and times as people write them.

use std::time::Duration;

use crate::control::words;

/// A number with its thousands set apart by narrow spaces that do not break.
pub(super) fn number(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() * 2);
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push('\u{202f}');
        }
        text.push(digit);
    }
    text
}

/// So many things, named as [`words::counted`] names them.
pub(super) fn counted(count: u64, one: &str) -> String {
    words::counted(count, one).replacen(&count.to_string(), &number(count), 1)
}

/// A count of what cannot be negative.
pub(super) fn count(count: i64) -> String {
    number(u64::try_from(count).unwrap_or(0))
}

/// Bytes, in the largest unit of which there is at least one.
pub(super) fn bytes(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["KiB", "MiB", "GiB", "TiB", "PiB"];
    if bytes < 1024 {
        return format!("{bytes}\u{a0}B");
    }
    let mut value = bytes as f64 / 1024.0;
    let mut unit = 0;
    while value >= 999.95 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    let digits = usize::from(value < 99.95);
    format!("{value:.digits$}\u{a0}{}", UNITS[unit])
}

/// A length of time, in its largest unit and the next one.
pub(super) fn period(time: Duration) -> String {
    let seconds = time.as_secs();
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3600 % 24, seconds / 60 % 60);
    let two = |first: u64, unit: &str, second: u64, smaller: &str| match second {
        0 => format!("{first}\u{a0}{unit}"),
        _ => format!("{first}\u{a0}{unit} {second}\u{a0}{smaller}"),
    };
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds}\u{a0}s"),
        (0, 0, _) => two(minutes, "min", 0, ""),
        (0, _, _) => two(hours, "h", minutes, "min"),
        _ => two(days, if days == 1 { "day" } else { "days" }, hours, "h"),
    }
}

/// A short length of time, in tenths of seconds.
pub(super) fn seconds(time: Duration) -> String {
    format!("{:.1}\u{a0}s", time.as_secs_f64())
}

/// How long ago something was.
pub(super) fn ago(time: Duration) -> String {
    match time.as_secs() {
        0..5 => "just now".to_owned(),
        _ => format!("{} ago", period(time)),
    }
}

/// A part of a whole in hundredths; a dash where there is nothing to divide.
pub(super) fn percent(part: u64, whole: u64) -> String {
    match whole {
        0 => "–".to_owned(),
        // What is not all must not be rounded to all.
        _ if part < whole => format!(
            "{:.1}\u{a0}%",
            (part as f64 * 1000.0 / whole as f64).floor() / 10.0
        ),
        _ => "100\u{a0}%".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn people_can_read_it() {
        let plain = |text: String| text.replace(['\u{202f}', '\u{a0}'], " ");
        for (value, expected) in [
            (0, "0"),
            (999, "999"),
            (1000, "1 000"),
            (1_234_567, "1 234 567"),
        ] {
            assert_eq!(plain(number(value)), expected);
        }
        for (value, expected) in [
            (0, "0 B"),
            (1023, "1023 B"),
            (1024, "1.0 KiB"),
            (1536, "1.5 KiB"),
            (100 << 10, "100 KiB"),
            (1 << 20, "1.0 MiB"),
            (2 << 30, "2.0 GiB"),
            ((1 << 20) - 1, "1.0 MiB"),
            (u64::MAX, "16384 PiB"),
        ] {
            assert_eq!(plain(bytes(value)), expected, "{value}");
        }
        for (value, expected) in [
            (0, "0 s"),
            (59, "59 s"),
            (60, "1 min"),
            (3600, "1 h"),
            (3661, "1 h 1 min"),
            (86_400, "1 day"),
            (200_000, "2 days 7 h"),
        ] {
            assert_eq!(plain(period(Duration::from_secs(value))), expected);
        }
        assert_eq!(plain(percent(0, 0)), "–");
        assert_eq!(plain(percent(999_999, 1_000_000)), "99.9 %");
        assert_eq!(plain(percent(3, 3)), "100 %");
        assert_eq!(count(-1), "0");
        assert_eq!(ago(Duration::ZERO), "just now");
        assert_eq!(plain(ago(Duration::from_secs(61))), "1 min ago");
        assert_eq!(plain(seconds(Duration::from_millis(1249))), "1.2 s");
    }
}
