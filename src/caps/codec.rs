//! The compact binary form of a disco info, as it lies in a store.
//!
//! Counts and lengths are unsigned LEB128 in their shortest spelling; a string is its length and its bytes, a list its count
//! and its elements:
//!
//! ```text
//! info     = list(identity) list(string) list(form)
//! identity = category type lang name
//! form     = FORM_TYPE list(field)
//! field    = var list(string)
//! ```
//!
//! There is one spelling of every disco info: canonical order is checked, and nothing may follow. The store adds a version
//! and a checksum; this layer only promises that damage never panics, never allocates more than the input is long (times a
//! small factor), and never yields something out of order.

use super::disco_info::{DiscoInfo, Field, Form, Identity};

/// Why bytes are not a disco info.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// The input ends within an element, or a count is larger than what follows can hold.
    #[error("the stored disco info is cut short")]
    Truncated,
    /// A number in a longer spelling than needed, or above 32 bits.
    #[error("the stored disco info holds a malformed number")]
    Number,
    /// A string that is not UTF-8.
    #[error("the stored disco info holds a string that is not UTF-8")]
    Utf8,
    /// Elements are not in canonical order.
    #[error("the stored disco info is not in canonical order")]
    Order,
    /// Bytes follow the end.
    #[error("the stored disco info is followed by other bytes")]
    Trailing,
}

impl DiscoInfo {
    /// The compact binary form; the content must be in canonical order, as everything is that was verified.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.strings().map(|s| s.len() + 2).sum::<usize>() + 8);
        put_number(self.identities.len(), &mut out);
        for identity in &self.identities {
            for part in [
                &identity.category,
                &identity.type_,
                &identity.lang,
                &identity.name,
            ] {
                put_string(part, &mut out);
            }
        }
        put_strings(&self.features, &mut out);
        put_number(self.forms.len(), &mut out);
        for form in &self.forms {
            put_string(&form.form_type, &mut out);
            put_number(form.fields.len(), &mut out);
            for field in &form.fields {
                put_string(&field.var, &mut out);
                put_strings(&field.values, &mut out);
            }
        }
        out
    }

    /// The disco info that [`DiscoInfo::encode`] wrote.
    ///
    /// # Errors
    /// [`DecodeError`] for anything that `encode` does not write. That it decodes says nothing about its hash.
    pub fn decode(bytes: &[u8]) -> Result<DiscoInfo, DecodeError> {
        let mut input = Input(bytes);
        let info = DiscoInfo {
            identities: input.list(4, Input::identity)?,
            features: input.list(1, Input::string)?,
            forms: input.list(2, Input::form)?,
        };
        match input.0 {
            [] => Ok(info),
            _ => Err(DecodeError::Trailing),
        }
    }
}

fn put_number(mut number: usize, out: &mut Vec<u8>) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

fn put_string(string: &str, out: &mut Vec<u8>) {
    put_number(string.len(), out);
    out.extend_from_slice(string.as_bytes());
}

fn put_strings(strings: &[String], out: &mut Vec<u8>) {
    put_number(strings.len(), out);
    for string in strings {
        put_string(string, out);
    }
}

/// What is left to read.
struct Input<'a>(&'a [u8]);

impl Input<'_> {
    fn number(&mut self) -> Result<usize, DecodeError> {
        let mut number = 0u64;
        for shift in [0, 7, 14, 21, 28] {
            let (byte, rest) = self.0.split_first().ok_or(DecodeError::Truncated)?;
            self.0 = rest;
            number |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                let shortest = shift == 0 || *byte != 0;
                return u32::try_from(number)
                    .ok()
                    .filter(|_| shortest)
                    .and_then(|number| usize::try_from(number).ok())
                    .ok_or(DecodeError::Number);
            }
        }
        Err(DecodeError::Number)
    }

    fn string(&mut self) -> Result<String, DecodeError> {
        let len = self.number()?;
        let (bytes, rest) = self.0.split_at_checked(len).ok_or(DecodeError::Truncated)?;
        self.0 = rest;
        let string = std::str::from_utf8(bytes).map_err(|_| DecodeError::Utf8)?;
        Ok(string.to_owned())
    }

    /// A list in canonical order, of elements that take at least `smallest` bytes each: a count beyond what is left is a lie,
    /// and nothing is reserved for it.
    fn list<T: Ord>(
        &mut self,
        smallest: usize,
        element: fn(&mut Self) -> Result<T, DecodeError>,
    ) -> Result<Vec<T>, DecodeError> {
        let count = self.number()?;
        if count > self.0.len() / smallest {
            return Err(DecodeError::Truncated);
        }
        let mut elements = Vec::with_capacity(count);
        for _ in 0..count {
            elements.push(element(self)?);
        }
        if !elements.is_sorted() {
            return Err(DecodeError::Order);
        }
        Ok(elements)
    }

    fn identity(&mut self) -> Result<Identity, DecodeError> {
        Ok(Identity {
            category: self.string()?,
            type_: self.string()?,
            lang: self.string()?,
            name: self.string()?,
        })
    }

    fn field(&mut self) -> Result<Field, DecodeError> {
        Ok(Field {
            var: self.string()?,
            values: self.list(1, Input::string)?,
        })
    }

    fn form(&mut self) -> Result<Form, DecodeError> {
        Ok(Form {
            form_type: self.string()?,
            fields: self.list(2, Input::field)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> DiscoInfo {
        DiscoInfo {
            identities: vec![Identity {
                category: "client".into(),
                type_: "pc".into(),
                lang: String::new(),
                name: "x".repeat(200),
            }],
            features: vec!["a".into(), "a".into(), "b".into()],
            forms: vec![Form {
                form_type: "urn:x".into(),
                fields: vec![Field {
                    var: "v".into(),
                    values: vec![String::new(), "1".into()],
                }],
            }],
        }
    }

    #[test]
    fn the_layout_is_as_documented() {
        let info = DiscoInfo {
            identities: vec![],
            features: vec!["ab".into()],
            forms: vec![],
        };
        assert_eq!(info.encode(), [0, 1, 2, b'a', b'b', 0]);
        assert_eq!(DiscoInfo::default().encode(), [0, 0, 0]);
    }

    #[test]
    fn every_truncation_and_every_addition_is_refused() {
        let bytes = sample().encode();
        assert_eq!(DiscoInfo::decode(&bytes), Ok(sample()));
        for len in 0..bytes.len() {
            assert!(DiscoInfo::decode(&bytes[..len]).is_err(), "{len}");
        }
        let mut longer = bytes;
        longer.push(0);
        assert_eq!(DiscoInfo::decode(&longer), Err(DecodeError::Trailing));
    }

    #[test]
    fn other_spellings_are_refused() {
        for (bytes, error) in [
            (&[0x80, 0x00, 0, 0][..], DecodeError::Number),
            (&[0xff, 0xff, 0xff, 0xff, 0x7f, 0], DecodeError::Number),
            (&[0xff, 0xff, 0xff, 0xff, 0xff, 1], DecodeError::Number),
            (&[0xff, 0xff, 0xff, 0xff, 0x0f], DecodeError::Truncated),
            (&[0, 2, 1, b'b', 1, b'a', 0], DecodeError::Order),
            (&[0, 1, 1, 0xff, 0], DecodeError::Utf8),
            (&[0, 1, 5, b'a', 0], DecodeError::Truncated),
        ] {
            assert_eq!(DiscoInfo::decode(bytes), Err(error), "{bytes:?}");
        }
    }
}
