//! Bytes of stored state: variable-length integers, since most counts, weights and sums are small.
//!
//! Signed numbers are folded (0, -1, 1, -2 ... become 0, 1, 2, 3 ...) and written seven bits a byte,
//! the lowest first, each byte but the last with its top bit set. Floats are their eight bytes,
//! little endian. Bytes follow their length.

use crate::{Error, Result};

pub(super) fn write_u128(mut value: u128, out: &mut Vec<u8>) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

pub(super) fn write_u64(value: u64, out: &mut Vec<u8>) {
    write_u128(u128::from(value), out);
}

pub(super) fn write_usize(value: usize, out: &mut Vec<u8>) {
    write_u128(value as u128, out);
}

pub(super) fn write_i128(value: i128, out: &mut Vec<u8>) {
    write_u128(((value << 1) ^ (value >> 127)) as u128, out);
}

pub(super) fn write_i64(value: i64, out: &mut Vec<u8>) {
    write_i128(i128::from(value), out);
}

pub(super) fn write_bytes(value: &[u8], out: &mut Vec<u8>) {
    write_usize(value.len(), out);
    out.extend_from_slice(value);
}

/// Reads what was written, from the front on.
pub(super) struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    pub fn is_at_end(&self) -> bool {
        self.rest.is_empty()
    }

    pub fn byte(&mut self) -> Result<u8> {
        Ok(self.take(1)?[0])
    }

    pub fn u128(&mut self) -> Result<u128> {
        let mut value = 0;
        for shift in (0..u128::BITS).step_by(7) {
            let byte = self.byte()?;
            value |= u128::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(damaged())
    }

    pub fn u64(&mut self) -> Result<u64> {
        u64::try_from(self.u128()?).map_err(|_| damaged())
    }

    pub fn usize(&mut self) -> Result<usize> {
        usize::try_from(self.u128()?).map_err(|_| damaged())
    }

    pub fn i128(&mut self) -> Result<i128> {
        let folded = self.u128()?;
        Ok((folded >> 1) as i128 ^ -((folded & 1) as i128))
    }

    pub fn i64(&mut self) -> Result<i64> {
        i64::try_from(self.i128()?).map_err(|_| damaged())
    }

    /// Eight bytes, the lowest first.
    pub fn u64_le(&mut self) -> Result<u64> {
        let bytes = self.take(8)?.try_into().map_err(|_| damaged())?;
        Ok(u64::from_le_bytes(bytes))
    }

    pub fn bytes(&mut self) -> Result<&'a [u8]> {
        let length = self.usize()?;
        self.take(length)
    }

    fn take(&mut self, length: usize) -> Result<&'a [u8]> {
        let (taken, rest) = self.rest.split_at_checked(length).ok_or_else(damaged)?;
        self.rest = rest;
        Ok(taken)
    }
}

/// State that none of this could have written.
pub(super) fn damaged() -> Error {
    Error::State("stored state can't be read; the data directory is damaged: restore a copy".to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_come_back_and_small_ones_take_a_byte() {
        let numbers = [0, 1, -1, 63, -64, 64, 1 << 40, i128::MAX, i128::MIN];
        let mut bytes = Vec::new();
        for number in numbers {
            write_i128(number, &mut bytes);
        }
        let mut reader = Reader::new(&bytes);
        for number in numbers {
            assert_eq!(reader.i128().unwrap(), number);
        }
        assert!(reader.is_at_end());
        bytes.clear();
        write_i64(-64, &mut bytes);
        assert_eq!(bytes.len(), 1);
    }

    #[test]
    fn short_or_foreign_bytes_are_an_error() {
        assert!(Reader::new(&[]).byte().is_err());
        assert!(Reader::new(&[0x80]).u128().is_err());
        assert!(Reader::new(&[0xff; 30]).u128().is_err());
        assert!(Reader::new(&[5, 1, 2]).bytes().is_err());
        let mut wide = Vec::new();
        write_i128(i128::MAX, &mut wide);
        assert!(Reader::new(&wide).i64().is_err());
    }
}
