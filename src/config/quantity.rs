//! Quantities as they are written in the configuration: counts, sizes, durations, rates.

use std::fmt;
use std::num::NonZeroU32;
use std::time::Duration;

use toml::de::DeValue;

use super::fault::Wrong;

/// Something that is counted or measured, with bounds.
pub(super) trait Quantity: Copy + fmt::Display {
    /// What it is called, with its article.
    const CALLED: &'static str;
    /// How it is written, as a remedy.
    const WRITTEN: &'static str;

    /// Reads it as it is written; `None` when it is written otherwise. What is too large to be represented becomes the
    /// largest value, which is out of every range.
    fn read(value: &DeValue<'_>) -> Option<Self>;

    /// By what values are compared with their bounds.
    fn magnitude(self) -> u64;
}

/// The default of a setting and the range in which it must lie, ends included.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bound<T> {
    pub(super) default: T,
    pub(super) min: T,
    pub(super) max: T,
}

impl<T: Quantity> Bound<T> {
    /// Reads a value and refuses it when it is out of range: it is never clamped, so that what is in force is what is
    /// written.
    pub(super) fn read(&self, value: &DeValue<'_>) -> Result<T, Wrong> {
        let Some(quantity) = T::read(value) else {
            return Err(Wrong::new(
                format!("is {}, which is not {}", shown(value), T::CALLED),
                T::WRITTEN,
            ));
        };
        let range = self.min.magnitude()..=self.max.magnitude();
        if range.contains(&quantity.magnitude()) {
            return Ok(quantity);
        }
        let Bound { default, min, max } = self;
        Err(Wrong::new(
            format!("is {}, but must be from {min} to {max}", shown(value)),
            format!("set a value in that range, or remove the key to get the default, {default}"),
        ))
    }
}

/// A value as a message shows it: strings and numbers are short enough to be quoted, all else is named by its type.
pub(super) fn shown(value: &DeValue<'_>) -> String {
    const SHOWN_CHARACTERS: usize = 60;
    match value {
        DeValue::String(text) if text.chars().count() > SHOWN_CHARACTERS => {
            let start: String = text.chars().take(SHOWN_CHARACTERS).collect();
            format!("{start:?}…")
        }
        DeValue::String(text) => format!("{text:?}"),
        DeValue::Integer(number) => number.to_string(),
        DeValue::Float(number) => number.to_string(),
        DeValue::Boolean(yes) => yes.to_string(),
        DeValue::Datetime(_) => "a date or time".to_owned(),
        DeValue::Array(_) => "a list".to_owned(),
        DeValue::Table(_) => "a table".to_owned(),
    }
}

/// A number of things.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Count(pub(super) usize);

impl Quantity for Count {
    const CALLED: &'static str = "a whole number";
    const WRITTEN: &'static str = "write a whole number without quotes, as in 1000";

    fn read(value: &DeValue<'_>) -> Option<Count> {
        let number = value.as_integer()?;
        let digits = number.as_str();
        if digits.starts_with('-') {
            return None;
        }
        let parsed = usize::from_str_radix(digits.trim_start_matches('+'), number.radix());
        Some(Count(parsed.unwrap_or(usize::MAX)))
    }

    fn magnitude(self) -> u64 {
        self.0 as u64
    }
}

impl fmt::Display for Count {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The decimal digits that a string begins with, as a number, and the rest of it.
fn number_and_unit(text: &str) -> Option<(u64, &str)> {
    let end = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    let (digits, unit) = text.split_at(end);
    if digits.is_empty() {
        return None;
    }
    Some((digits.parse().unwrap_or(u64::MAX), unit))
}

/// Writes a number in the largest unit that divides it.
fn in_largest_unit(f: &mut fmt::Formatter<'_>, number: u64, units: &[(&str, u64)]) -> fmt::Result {
    let divides = |(_, factor): &&(&str, u64)| number != 0 && number.is_multiple_of(*factor);
    match units.iter().rev().find(divides).or(units.first()) {
        Some((unit, factor)) => write!(f, "{}{unit}", number / factor),
        None => write!(f, "{number}"),
    }
}

/// A number of bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Size(pub(super) u64);

impl Size {
    const UNITS: [(&'static str, u64); 5] = [
        ("B", 1),
        ("KiB", 1 << 10),
        ("MiB", 1 << 20),
        ("GiB", 1 << 30),
        ("TiB", 1 << 40),
    ];
}

impl Quantity for Size {
    const CALLED: &'static str = "a size";
    const WRITTEN: &'static str =
        "write a size as a string such as \"16KiB\"; the units are B, KiB, MiB, GiB and TiB";

    fn read(value: &DeValue<'_>) -> Option<Size> {
        let (number, unit) = number_and_unit(value.as_str()?)?;
        let (_, factor) = Size::UNITS.into_iter().find(|(name, _)| *name == unit)?;
        Some(Size(number.saturating_mul(factor)))
    }

    fn magnitude(self) -> u64 {
        self.0
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        in_largest_unit(f, self.0, &Size::UNITS)
    }
}

/// A length of time, in whole milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Period(pub(super) Duration);

impl Period {
    const UNITS: [(&'static str, u64); 5] = [
        ("ms", 1),
        ("s", 1_000),
        ("m", 60_000),
        ("h", 3_600_000),
        ("d", 86_400_000),
    ];

    pub(super) const fn seconds(seconds: u64) -> Period {
        Period(Duration::from_secs(seconds))
    }

    pub(super) const fn millis(millis: u64) -> Period {
        Period(Duration::from_millis(millis))
    }
}

impl Quantity for Period {
    const CALLED: &'static str = "a duration";
    const WRITTEN: &'static str =
        "write a duration as a string such as \"5s\"; the units are ms, s, m, h and d";

    fn read(value: &DeValue<'_>) -> Option<Period> {
        let (number, unit) = number_and_unit(value.as_str()?)?;
        let (_, factor) = Period::UNITS.into_iter().find(|(name, _)| *name == unit)?;
        Some(Period::millis(number.saturating_mul(factor)))
    }

    fn magnitude(self) -> u64 {
        u64::try_from(self.0.as_millis()).unwrap_or(u64::MAX)
    }
}

impl fmt::Display for Period {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A day is written as 24h: that is how such settings are spoken of.
        in_largest_unit(f, self.magnitude(), &Period::UNITS[..4])
    }
}

/// The unit of time of a [`Rate`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Per {
    Second,
    Minute,
    Hour,
}

impl Per {
    const fn seconds(self) -> u32 {
        match self {
            Per::Second => 1,
            Per::Minute => 60,
            Per::Hour => 3600,
        }
    }

    const fn letter(self) -> &'static str {
        match self {
            Per::Second => "s",
            Per::Minute => "m",
            Per::Hour => "h",
        }
    }
}

/// So many per second, minute or hour: the refill and the depth of a token bucket. Written `50/s`, `3/m`, `20/h`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    count: NonZeroU32,
    per: Per,
}

impl Rate {
    /// How long one token takes to come back.
    pub fn interval(self) -> Duration {
        Duration::from_secs(self.per.seconds().into()) / self.count.get()
    }

    /// How many tokens a full bucket holds: as many as the rate names, or four seconds' worth where that is more. So
    /// `50/s` lets 200 pass at once, and `20/h` lets 20.
    pub fn burst(self) -> NonZeroU32 {
        let four_seconds = self.count.get().saturating_mul(4) / self.per.seconds();
        NonZeroU32::new(four_seconds).map_or(self.count, |worth| worth.max(self.count))
    }

    /// For constants: a count of 0 becomes 1.
    pub(super) const fn new(count: u32, per: Per) -> Rate {
        let count = match NonZeroU32::new(count) {
            Some(count) => count,
            None => NonZeroU32::MIN,
        };
        Rate { count, per }
    }
}

impl Quantity for Rate {
    const CALLED: &'static str = "a rate";
    const WRITTEN: &'static str = "write a rate as a string such as \"50/s\"; the units are /s, /m and /h, and the number is at least 1";

    fn read(value: &DeValue<'_>) -> Option<Rate> {
        let (number, unit) = number_and_unit(value.as_str()?)?;
        let per = [Per::Second, Per::Minute, Per::Hour]
            .into_iter()
            .find(|per| unit.strip_prefix('/') == Some(per.letter()))?;
        let count = NonZeroU32::new(u32::try_from(number).unwrap_or(u32::MAX))?;
        Some(Rate { count, per })
    }

    fn magnitude(self) -> u64 {
        u64::from(self.count.get()) * u64::from(3600 / self.per.seconds())
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.count, self.per.letter())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read<T: Quantity>(written: &str) -> Option<T> {
        T::read(DeValue::parse(written).unwrap().get_ref())
    }

    #[test]
    fn durations() {
        let millis = |written| read::<Period>(written).map(|period| period.0.as_millis());
        assert_eq!(millis("'250ms'"), Some(250));
        assert_eq!(millis("'5s'"), Some(5_000));
        assert_eq!(millis("'10m'"), Some(600_000));
        assert_eq!(millis("'24h'"), Some(86_400_000));
        assert_eq!(millis("'2d'"), Some(172_800_000));
        for wrong in [
            "5", "'5'", "'5 s'", "'-5s'", "'1.5s'", "'s'", "''", "'5S'", "'5s5s'",
        ] {
            assert_eq!(millis(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn sizes() {
        let bytes = |written| read::<Size>(written).map(|size| size.0);
        assert_eq!(bytes("'100B'"), Some(100));
        assert_eq!(bytes("'16KiB'"), Some(16_384));
        assert_eq!(bytes("'2GiB'"), Some(2_147_483_648));
        assert_eq!(bytes("'99999999999999999999TiB'"), Some(u64::MAX));
        for wrong in ["16", "'16'", "'16KB'", "'16kib'", "'16 KiB'", "'KiB'"] {
            assert_eq!(bytes(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn counts() {
        let count = |written| read::<Count>(written).map(|count| count.0);
        assert_eq!(count("1_000"), Some(1000));
        assert_eq!(count("0x10"), Some(16));
        assert_eq!(count("+7"), Some(7));
        assert_eq!(count("99999999999999999999999999"), Some(usize::MAX));
        for wrong in ["-1", "1.0", "'1'", "true"] {
            assert_eq!(count(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_bucket_holds_the_count_or_four_seconds_worth() {
        let rate = |written| {
            let rate: Rate = read(written).unwrap();
            (rate.interval().as_millis(), rate.burst().get())
        };
        assert_eq!(rate("'50/s'"), (20, 200));
        assert_eq!(rate("'1/s'"), (1_000, 4));
        assert_eq!(rate("'60/m'"), (1_000, 60));
        assert_eq!(rate("'3/m'"), (20_000, 3));
        assert_eq!(rate("'20/h'"), (180_000, 20));
        for wrong in ["'0/s'", "'50'", "'50/d'", "'/s'", "50"] {
            assert_eq!(read::<Rate>(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn what_is_written_is_read_again() {
        for written in ["250ms", "90s", "24h", "1m"] {
            let period: Period = read(&format!("{written:?}")).unwrap();
            assert_eq!(read(&format!("\"{period}\"")), Some(period));
        }
        assert_eq!(Period::seconds(86_400).to_string(), "24h");
        assert_eq!(Size(1 << 31).to_string(), "2GiB");
        assert_eq!(Size(1500).to_string(), "1500B");
        assert_eq!(Rate::new(20, Per::Hour).to_string(), "20/h");
    }

    #[test]
    fn out_of_range_is_refused_with_the_range() {
        let bound = Bound {
            default: Period::seconds(5),
            min: Period::millis(100),
            max: Period::seconds(60),
        };
        for ok in ["'100ms'", "'60s'", "'1m'"] {
            assert!(bound.read(DeValue::parse(ok).unwrap().get_ref()).is_ok());
        }
        for wrong in ["'99ms'", "'61s'", "'99999999999999999999d'"] {
            let fault = bound.read(DeValue::parse(wrong).unwrap().get_ref());
            let fault = fault.unwrap_err();
            assert!(
                fault.message.ends_with("but must be from 100ms to 1m"),
                "{fault:?}"
            );
            assert!(fault.hint.ends_with("the default, 5s"), "{fault:?}");
        }
    }
}
