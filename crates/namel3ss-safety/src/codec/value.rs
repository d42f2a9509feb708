//! The texts and JSON values inside a payload, read one by one without copying.

use serde_json::{Map, Number, Value};

use super::tag;

/// The texts of `categories`, one after the other.
#[derive(Clone, Copy, Debug)]
pub struct Categories<'a> {
    pub(super) reader: Reader<'a>,
    pub(super) left: u16,
}

impl<'a> Iterator for Categories<'a> {
    type Item = &'a str;

    fn next(&mut self) -> Option<&'a str> {
        self.left = self.left.checked_sub(1)?;
        self.reader.text()
    }
}

/// A JSON value in a payload.
#[derive(Clone, Copy, Debug)]
pub enum ValueRef<'a> {
    /// `null`
    Null,
    /// `true` or `false`
    Bool(bool),
    /// A whole number that fits.
    Int(i64),
    /// A whole number beyond `i64`.
    UInt(u64),
    /// Any other number; it may be NaN or infinite.
    Float(f64),
    /// A number too large for the others, in its digits.
    Number(&'a str),
    /// Text.
    String(&'a str),
    /// A list.
    Array(ArrayRef<'a>),
    /// An object, in the order in which it was logged.
    Object(ObjectRef<'a>),
}

impl ValueRef<'_> {
    /// A copy of its own; non-finite and oversized numbers become texts.
    #[must_use]
    pub fn to_value(&self) -> Value {
        match *self {
            Self::Null => Value::Null,
            Self::Bool(b) => Value::Bool(b),
            Self::Int(n) => Value::from(n),
            Self::UInt(n) => Value::from(n),
            Self::Float(n) => Number::from_f64(n)
                .map_or_else(|| Value::from(crate::json::non_finite(n)), Value::Number),
            Self::Number(digits) => Value::from(digits),
            Self::String(text) => Value::from(text),
            Self::Array(items) => Value::Array(items.map(|item| item.to_value()).collect()),
            Self::Object(entries) => Value::Object(entries.to_map()),
        }
    }
}

/// The items of a list.
#[derive(Clone, Copy, Debug)]
pub struct ArrayRef<'a>(Reader<'a>);

impl<'a> Iterator for ArrayRef<'a> {
    type Item = ValueRef<'a>;

    fn next(&mut self) -> Option<ValueRef<'a>> {
        if self.0.bytes.is_empty() { None } else { self.0.value() }
    }
}

/// The entries of an object.
#[derive(Clone, Copy, Debug)]
pub struct ObjectRef<'a>(Reader<'a>);

impl<'a> Iterator for ObjectRef<'a> {
    type Item = (&'a str, ValueRef<'a>);

    fn next(&mut self) -> Option<(&'a str, ValueRef<'a>)> {
        if self.0.bytes.is_empty() { None } else { Some((self.0.text()?, self.0.value()?)) }
    }
}

impl ObjectRef<'_> {
    /// A copy of its own.
    #[must_use]
    pub fn to_map(&self) -> Map<String, Value> {
        self.map(|(key, value)| (key.to_owned(), value.to_value())).collect()
    }

    pub(super) fn check(&self, depth_left: usize) -> bool {
        let mut reader = self.0;
        while !reader.bytes.is_empty() {
            if reader.text().is_none() || !reader.check_value(depth_left) {
                return false;
            }
        }
        true
    }
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Reader<'a> {
    pub(super) bytes: &'a [u8],
}

impl<'a> Reader<'a> {
    fn take(&mut self, n: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.bytes.split_at_checked(n)?;
        self.bytes = rest;
        Some(taken)
    }

    fn byte(&mut self) -> Option<u8> {
        let (&byte, rest) = self.bytes.split_first()?;
        self.bytes = rest;
        Some(byte)
    }

    fn varint(&mut self) -> Option<u64> {
        let mut n = 0_u64;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            let bits = u64::from(byte & 0x7f);
            if shift == 63 && bits > 1 {
                return None;
            }
            n |= bits << shift;
            if byte < 0x80 {
                return Some(n);
            }
        }
        None
    }

    pub(super) fn text(&mut self) -> Option<&'a str> {
        let length = usize::try_from(self.varint()?).ok()?;
        std::str::from_utf8(self.take(length)?).ok()
    }

    fn sized(&mut self) -> Option<Reader<'a>> {
        let length = u32::from_le_bytes(self.take(4)?.try_into().ok()?);
        Some(Reader { bytes: self.take(usize::try_from(length).ok()?)? })
    }

    pub(super) fn object(&mut self) -> Option<ObjectRef<'a>> {
        self.sized().map(ObjectRef)
    }

    fn value(&mut self) -> Option<ValueRef<'a>> {
        Some(match self.byte()? {
            tag::NULL => ValueRef::Null,
            tag::FALSE => ValueRef::Bool(false),
            tag::TRUE => ValueRef::Bool(true),
            tag::INT => {
                let n = self.varint()?;
                ValueRef::Int((n >> 1) as i64 ^ -((n & 1) as i64))
            }
            tag::UINT => ValueRef::UInt(self.varint()?),
            tag::FLOAT => ValueRef::Float(f64::from_le_bytes(self.take(8)?.try_into().ok()?)),
            tag::NUMBER => ValueRef::Number(self.text()?),
            tag::STRING => ValueRef::String(self.text()?),
            tag::ARRAY => ValueRef::Array(ArrayRef(self.sized()?)),
            tag::OBJECT => ValueRef::Object(self.object()?),
            _ => return None,
        })
    }

    fn check_value(&mut self, depth_left: usize) -> bool {
        match self.value() {
            None => false,
            Some(ValueRef::Array(ArrayRef(mut items))) => {
                if depth_left == 0 {
                    return false;
                }
                while !items.bytes.is_empty() {
                    if !items.check_value(depth_left - 1) {
                        return false;
                    }
                }
                true
            }
            Some(ValueRef::Object(entries)) => depth_left > 0 && entries.check(depth_left - 1),
            Some(ValueRef::Number(digits)) => is_number(digits),
            Some(_) => true,
        }
    }
}

/// Whether `digits` is a number by the grammar of JSON, so that it can be written out unquoted.
pub(super) fn is_number(digits: &str) -> bool {
    let body = digits.strip_prefix('-').unwrap_or(digits);
    let (mantissa, exponent) = match body.split_once(['e', 'E']) {
        Some((m, e)) => (m, Some(e.strip_prefix(['+', '-']).unwrap_or(e))),
        None => (body, None),
    };
    let (whole, fraction) = match mantissa.split_once('.') {
        Some((w, f)) => (w, Some(f)),
        None => (mantissa, None),
    };
    let all_digits = |t: &str| !t.is_empty() && t.bytes().all(|b| b.is_ascii_digit());
    all_digits(whole)
        && (whole.len() == 1 || !whole.starts_with('0'))
        && fraction.is_none_or(all_digits)
        && exponent.is_none_or(all_digits)
}
