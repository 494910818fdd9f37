//! The bytes of a file as text, and back, whatever they are.
//!
//! Stock keeps comments in any encoding, so a file need not be UTF-8. Where it is not, every byte beyond
//! ASCII is held as a character of a private area until it is written again.

/// The character that holds byte 0 would be this one; only those from 128 on are held so.
const AREA: u32 = 0xf700;

/// Text that stands for these bytes; [`encode`] makes exactly them of it.
#[must_use]
pub fn decode(bytes: &[u8]) -> String {
    let text = str::from_utf8(bytes).ok();
    let text = text.filter(|text| !text.chars().any(|one| held(one).is_some()));
    text.map_or_else(|| bytes.iter().copied().map(hold).collect(), str::to_owned)
}

/// The bytes a text stands for.
#[must_use]
pub fn encode(text: &str) -> Vec<u8> {
    // Nearly every file is, and some are long and written often.
    if text.is_ascii() {
        return text.into();
    }
    let mut bytes = Vec::with_capacity(text.len());
    for one in text.chars() {
        match held(one) {
            Some(byte) => bytes.push(byte),
            None => bytes.extend_from_slice(one.encode_utf8(&mut [0; 4]).as_bytes()),
        }
    }
    bytes
}

fn hold(byte: u8) -> char {
    let own = char::from(byte);
    let private = char::from_u32(AREA.saturating_add(byte.into()));
    private.filter(|_| !byte.is_ascii()).unwrap_or(own)
}

fn held(one: char) -> Option<u8> {
    let byte = u32::from(one).checked_sub(AREA)?;
    u8::try_from(byte).ok().filter(|byte| !byte.is_ascii())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn text_stays_text() {
        assert_eq!(decode("# Größe ✓".as_bytes()), "# Größe ✓");
    }

    proptest! {
        #[test]
        fn all_bytes_come_back(bytes in any::<Vec<u8>>()) {
            prop_assert_eq!(encode(&decode(&bytes)), bytes);
        }

        #[test]
        fn private_characters_come_back_as_well(text in "[a\u{f780}-\u{f7ff}ä]*") {
            prop_assert_eq!(encode(&decode(text.as_bytes())), text.as_bytes());
        }
    }
}
