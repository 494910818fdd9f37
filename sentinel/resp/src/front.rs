//! A look at the request in front of a buffer, which is left where it is.
//!
//! For whoever may answer some requests without taking them apart. Knows only the one form that client
//! libraries write; everything else is left to the [`RequestDecoder`](crate::RequestDecoder), which takes
//! for a request whatever is one here.

/// The words of the request in front, and how many bytes it takes, if it is whole and is an array of
/// exactly so many bulk strings, none longer than 99 bytes.
#[must_use]
pub fn peek<const N: usize>(buffer: &[u8]) -> Option<([&[u8]; N], usize)> {
    let count = u8::try_from(N)
        .ok()
        .filter(|count| (1..=9).contains(count))?;
    let head = [b'*', b'0'.saturating_add(count), b'\r', b'\n'];
    let mut rest = buffer.strip_prefix(&head)?;
    let mut words = [&[][..]; N];
    for word in &mut words {
        let (length, behind) = match rest {
            [b'$', one, b'\r', b'\n', behind @ ..] => (digit(*one)?, behind),
            [b'$', ten @ b'1'..=b'9', one, b'\r', b'\n', behind @ ..] => {
                let tens = digit(*ten)?.saturating_mul(10);
                (tens.saturating_add(digit(*one)?), behind)
            }
            _ => return None,
        };
        let (text, behind) = behind.split_at_checked(length)?;
        *word = text;
        rest = behind.strip_prefix(b"\r\n")?;
    }
    Some((words, buffer.len().saturating_sub(rest.len())))
}

fn digit(byte: u8) -> Option<usize> {
    byte.is_ascii_digit()
        .then(|| usize::from(byte.saturating_sub(b'0')))
}

#[cfg(test)]
mod tests {
    use bytes::BytesMut;

    use super::*;
    use crate::{RequestDecoder, RequestLimit};

    #[test]
    fn a_whole_request_is_seen_and_only_that() {
        let request = b"*2\r\n$4\r\nPING\r\n$12\r\nhello, world\r\n";
        let with_more = [&request[..], b"*1\r\n"].concat();
        let seen = Some(([&b"PING"[..], b"hello, world"], request.len()));
        assert_eq!(peek::<2>(&with_more), seen);
        assert_eq!(peek::<1>(&with_more), None);
        for end in 0..request.len() {
            assert_eq!(peek::<2>(&request[..end]), None, "at {end}");
        }
        for other in [
            "PING hello\r\n",
            "*2\r\n$04\r\nPING\r\n$1\r\na\r\n",
            "*2\r\n$4\r\nPINGxx$1\r\na\r\n",
        ] {
            assert_eq!(peek::<2>(other.as_bytes()), None, "{other:?}");
        }
    }

    #[test]
    fn the_decoder_sees_the_same() {
        let mut request =
            BytesMut::from(&b"*3\r\n$0\r\n\r\n$2\r\n\r\n\r\n$10\r\n0123456789\r\nPING\r\n"[..]);
        let (words, length) = peek::<3>(&request).unwrap();
        let words = words.map(<[u8]>::to_vec).to_vec();
        let behind = request.len() - length;
        let mut decoder = RequestDecoder::new(RequestLimit::default());
        assert_eq!(decoder.decode(&mut request).unwrap().unwrap(), words);
        assert_eq!(request.len(), behind);
    }
}
