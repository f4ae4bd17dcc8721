//! Bytes as base64 (RFC 4648, standard alphabet, padded), how BYTEA stands in JSON and CSV.

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// Value of each letter; 255 where it has none. `-` and `_` of the URL alphabet are read too.
const VALUES: [u8; 256] = {
    let mut values = [255; 256];
    let mut i = 0;
    while i < 64 {
        values[ALPHABET[i] as usize] = i as u8;
        i += 1;
    }
    values[b'-' as usize] = 62;
    values[b'_' as usize] = 63;
    values
};

/// Appends `bytes` as base64.
pub(crate) fn encode(bytes: &[u8], out: &mut Vec<u8>) {
    for chunk in bytes.chunks(3) {
        let word = chunk.iter().fold(0u32, |word, &byte| word << 8 | u32::from(byte)) << (8 * (3 - chunk.len()));
        for place in 0..4 {
            let letter = ALPHABET[(word >> (18 - 6 * place) & 63) as usize];
            out.push(if place <= chunk.len() { letter } else { b'=' });
        }
    }
}

/// Appends the bytes of a base64 text; padding may be left out. On an error `out` may hold a part.
pub(crate) fn decode(text: &[u8], out: &mut Vec<u8>) -> Result<(), &'static str> {
    const BAD: &str = "it is not base64";
    let text = match text {
        [body @ .., b'=', b'='] | [body @ .., b'='] if text.len().is_multiple_of(4) => body,
        _ => text,
    };
    for chunk in text.chunks(4) {
        let mut word = 0u32;
        for &letter in chunk {
            let value = VALUES[usize::from(letter)];
            if value == 255 {
                return Err(BAD);
            }
            word = word << 6 | u32::from(value);
        }
        word <<= 6 * (4 - chunk.len());
        let bytes = word.to_be_bytes();
        // Bits below the last byte must be zero, so that one value has one text.
        match chunk.len() {
            4 => out.extend_from_slice(&bytes[1..]),
            3 if bytes[3] == 0 => out.extend_from_slice(&bytes[1..3]),
            2 if bytes[2] == 0 => out.push(bytes[1]),
            _ => return Err(BAD),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn vectors_of_rfc_4648() {
        for (bytes, text) in [
            ("", ""),
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
            ("foob", "Zm9vYg=="),
            ("fooba", "Zm9vYmE="),
        ] {
            let mut out = Vec::new();
            encode(bytes.as_bytes(), &mut out);
            assert_eq!(out, text.as_bytes());
            for given in [text, text.trim_end_matches('=')] {
                let mut out = Vec::new();
                decode(given.as_bytes(), &mut out).unwrap();
                assert_eq!(out, bytes.as_bytes());
            }
        }
        for bad in ["Z", "Zg=", "Zh==", "Z===", "Zm9v!", "====", "Zg==Zg=="] {
            assert!(decode(bad.as_bytes(), &mut Vec::new()).is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn reads_back(bytes: Vec<u8>) {
            let (mut text, mut again) = (Vec::new(), Vec::new());
            encode(&bytes, &mut text);
            prop_assert_eq!(decode(&text, &mut again), Ok(()));
            prop_assert_eq!(again, bytes);
        }

        #[test]
        fn any_bytes(text: Vec<u8>) {
            let _ = decode(&text, &mut Vec::new());
        }
    }
}
