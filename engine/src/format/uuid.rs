//! UUIDs as text, both ways. A UUID is 16 bytes, and no other type of the dialect has a fixed number of them.

use arrow::datatypes::DataType;

/// The type of UUIDs.
pub const UUID: DataType = DataType::FixedSizeBinary(16);

const DIGITS: &[u8; 16] = b"0123456789abcdef";

/// Reads what PostgreSQL reads: 32 hexadecimal digits, with hyphens behind any four of them, maybe in braces.
///
/// # Errors
/// Why it is none.
pub fn parse(text: &str) -> Result<[u8; 16], &'static str> {
    const WHY: &str = "a uuid is written '01234567-89ab-cdef-0123-456789abcdef'";
    let text = text.trim();
    let bare = text
        .strip_prefix('{')
        .map_or(Some(text), |inner| inner.strip_suffix('}'))
        .ok_or(WHY)?;
    let mut value = [0; 16];
    let mut digits = 0usize;
    let mut last = b'-';
    for byte in bare.bytes() {
        if byte == b'-' {
            if !digits.is_multiple_of(4) || last == b'-' || digits == 32 {
                return Err(WHY);
            }
        } else {
            let digit = char::from(byte).to_digit(16).ok_or(WHY)?;
            let place = value.get_mut(digits / 2).ok_or(WHY)?;
            *place = *place << 4 | digit as u8;
            digits += 1;
        }
        last = byte;
    }
    if digits == 32 { Ok(value) } else { Err(WHY) }
}

/// Appends the canonical text.
pub fn push(value: &[u8], out: &mut Vec<u8>) {
    for (place, byte) in value.iter().enumerate() {
        if matches!(place, 4 | 6 | 8 | 10) {
            out.push(b'-');
        }
        out.push(DIGITS[usize::from(byte >> 4)]);
        out.push(DIGITS[usize::from(byte & 15)]);
    }
}

/// The canonical text.
pub fn text(value: &[u8]) -> String {
    let mut out = Vec::with_capacity(36);
    push(value, &mut out);
    out.into_iter().map(char::from).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uuids_are_read_as_postgres_does() {
        const CANONICAL: &str = "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11";
        for spelled in [
            CANONICAL,
            "A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11",
            "{a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11}",
            "a0eebc999c0b4ef8bb6d6bb9bd380a11",
            "a0ee-bc99-9c0b-4ef8-bb6d-6bb9-bd38-0a11",
            "{a0eebc99-9c0b4ef8-bb6d6bb9-bd380a11}",
        ] {
            assert_eq!(
                parse(spelled).map(|value| text(&value)).as_deref(),
                Ok(CANONICAL),
                "{spelled}"
            );
        }
        for bad in [
            "",
            "x",
            "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a1",
            "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a111",
            "{a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11",
            "a0eebc9-99c0b-4ef8-bb6d-6bb9bd380a11",
            "a0eebc99--9c0b-4ef8-bb6d-6bb9bd380a11",
            "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11-",
            "-a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11",
        ] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }
}
