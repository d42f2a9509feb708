//! The texts and JSON values inside a payload, read one by one without copying.

use serde_json::{Map, Number, Value};

use super::layout::tag;

/// The texts of `categories`, one after the other.
#[derive(Clone, Copy, Debug)]
pub struct Categories<'a> {
    pub(super) texts: Texts<'a>,
    pub(super) left: u16,
}

impl<'a> Iterator for Categories<'a> {
    type Item = &'a str;

    fn next(&mut self) -> Option<&'a str> {
        self.left = self.left.checked_sub(1)?;
        self.texts.next()
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

/// A JSON value whose texts are the bytes that they are: they were checked when the payload was
/// decoded, and who writes them out as bytes need not check them again.
#[derive(Clone, Copy, Debug)]
pub(crate) enum RawValue<'a> {
    Null,
    Bool(bool),
    Int(i64),
    UInt(u64),
    Float(f64),
    Number(&'a [u8]),
    String(&'a [u8]),
    Array(ArrayRef<'a>),
    Object(ObjectRef<'a>),
}

impl<'a> ArrayRef<'a> {
    /// The next item.
    pub(crate) fn next_raw(&mut self) -> Option<RawValue<'a>> {
        if self.0.bytes.is_empty() { None } else { self.0.raw() }
    }
}

impl<'a> ObjectRef<'a> {
    /// Whether it has no entry.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.bytes.is_empty()
    }

    /// The next entry.
    pub(crate) fn next_raw(&mut self) -> Option<(&'a [u8], RawValue<'a>)> {
        if self.0.bytes.is_empty() { None } else { Some((self.0.sized_text()?, self.0.raw()?)) }
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
            if !reader.sized_text().is_some_and(is_text) || !reader.check_value(depth_left) {
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

    #[inline]
    fn varint(&mut self) -> Option<u64> {
        match self.bytes.split_first() {
            Some((&byte, rest)) if byte < 0x80 => {
                self.bytes = rest;
                Some(u64::from(byte))
            }
            _ => self.long_varint(),
        }
    }

    #[inline(never)]
    fn long_varint(&mut self) -> Option<u64> {
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

    /// A text's bytes.
    #[inline]
    fn sized_text(&mut self) -> Option<&'a [u8]> {
        let length = usize::try_from(self.varint()?).ok()?;
        self.take(length)
    }

    fn text(&mut self) -> Option<&'a str> {
        std::str::from_utf8(self.sized_text()?).ok()
    }

    /// `count` texts, one behind the other, which it passes; all of them are checked.
    pub(super) fn texts(&mut self, count: usize) -> Option<Texts<'a>> {
        let all = self.bytes;
        let mut short = true;
        for _ in 0..count {
            short &= self.bytes.first()? < &0x80;
            self.sized_text()?;
        }
        let area = &all[..all.len() - self.bytes.len()];
        // A length below 128 is a character by itself. So where all are, the whole is UTF-8 if, and
        // only if, each text is: one check instead of many.
        if short {
            return std::str::from_utf8(area).ok().map(Texts::Short);
        }
        let mut reader = Reader { bytes: area };
        for _ in 0..count {
            reader.text()?;
        }
        Some(Texts::Any(Reader { bytes: area }))
    }

    fn sized(&mut self) -> Option<Reader<'a>> {
        let length = u32::from_le_bytes(self.take(4)?.try_into().ok()?);
        Some(Reader { bytes: self.take(usize::try_from(length).ok()?)? })
    }

    pub(super) fn object(&mut self) -> Option<ObjectRef<'a>> {
        self.sized().map(ObjectRef)
    }

    #[inline]
    fn raw(&mut self) -> Option<RawValue<'a>> {
        Some(match self.byte()? {
            tag::NULL => RawValue::Null,
            tag::FALSE => RawValue::Bool(false),
            tag::TRUE => RawValue::Bool(true),
            tag::INT => {
                let n = self.varint()?;
                RawValue::Int((n >> 1) as i64 ^ -((n & 1) as i64))
            }
            tag::UINT => RawValue::UInt(self.varint()?),
            tag::FLOAT => RawValue::Float(f64::from_le_bytes(self.take(8)?.try_into().ok()?)),
            tag::NUMBER => RawValue::Number(self.sized_text()?),
            tag::STRING => RawValue::String(self.sized_text()?),
            tag::ARRAY => RawValue::Array(ArrayRef(self.sized()?)),
            tag::OBJECT => RawValue::Object(self.object()?),
            _ => return None,
        })
    }

    fn value(&mut self) -> Option<ValueRef<'a>> {
        let text = |bytes| std::str::from_utf8(bytes).ok();
        Some(match self.raw()? {
            RawValue::Null => ValueRef::Null,
            RawValue::Bool(b) => ValueRef::Bool(b),
            RawValue::Int(n) => ValueRef::Int(n),
            RawValue::UInt(n) => ValueRef::UInt(n),
            RawValue::Float(n) => ValueRef::Float(n),
            RawValue::Number(digits) => ValueRef::Number(text(digits)?),
            RawValue::String(bytes) => ValueRef::String(text(bytes)?),
            RawValue::Array(items) => ValueRef::Array(items),
            RawValue::Object(entries) => ValueRef::Object(entries),
        })
    }

    fn check_value(&mut self, depth_left: usize) -> bool {
        match self.raw() {
            None => false,
            Some(RawValue::Array(ArrayRef(mut items))) => {
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
            Some(RawValue::Object(entries)) => depth_left > 0 && entries.check(depth_left - 1),
            Some(RawValue::Number(digits)) => std::str::from_utf8(digits).is_ok_and(is_number),
            Some(RawValue::String(text)) => is_text(text),
            Some(_) => true,
        }
    }
}

/// Texts behind one another, each after its length; checked.
#[derive(Clone, Copy, Debug)]
pub(super) enum Texts<'a> {
    /// Every length is one byte, below 128.
    Short(&'a str),
    Any(Reader<'a>),
}

impl<'a> Iterator for Texts<'a> {
    type Item = &'a str;

    #[inline]
    fn next(&mut self) -> Option<&'a str> {
        match self {
            Self::Short(area) => {
                let length = usize::from(*area.as_bytes().first()?);
                let (text, rest) = area.get(1..)?.split_at_checked(length)?;
                *area = rest;
                Some(text)
            }
            Self::Any(reader) => reader.text(),
        }
    }
}

/// Whether `bytes` are UTF-8. Most are short, and ASCII.
#[inline]
fn is_text(bytes: &[u8]) -> bool {
    // Without an early exit, so that it is done many bytes at a time.
    bytes.iter().fold(0, |all, byte| all | byte) < 0x80 || std::str::from_utf8(bytes).is_ok()
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
