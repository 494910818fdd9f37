//! The wire's codec: bytes mean the same in whatever pieces they come, and what is written is read again.

use duke_resp::{
    Bytes, BytesMut, Frame, Protocol, ReplyDecoder, ReplyLimit, RequestDecoder, RequestLimit,
    encode,
};

/// More requests than any input can hold.
const REQUESTS_MAX: usize = 1 << 20;

/// Everything that is decoded from `bytes` in pieces of this size, and whether it ended in an error.
fn requests(bytes: &[u8], piece: usize) -> (Vec<Vec<Bytes>>, bool) {
    let mut decoder = RequestDecoder::new(RequestLimit::default());
    let (mut buffer, mut all) = (BytesMut::new(), Vec::new());
    for chunk in bytes.chunks(piece.max(1)) {
        buffer.extend_from_slice(chunk);
        loop {
            match decoder.decode(&mut buffer) {
                Ok(Some(words)) => {
                    assert!(!words.is_empty(), "a request has words");
                    all.push(words);
                    assert!(all.len() < REQUESTS_MAX, "requests out of nothing");
                }
                Ok(None) => break,
                Err(_) => return (all, true),
            }
        }
    }
    (all, false)
}

pub(crate) fn request(bytes: &[u8]) {
    let whole = requests(bytes, bytes.len());
    for piece in [1, 2, 7] {
        assert_eq!(requests(bytes, piece), whole, "in pieces of {piece}");
    }
    for words in &whole.0 {
        let mut written = BytesMut::new();
        encode(
            &Frame::command(words.clone()),
            Protocol::Resp2,
            &mut written,
        );
        assert_eq!(
            requests(&written, 5).0,
            std::slice::from_ref(words),
            "written again"
        );
    }
}

fn replies(bytes: &[u8], piece: usize) -> (Vec<Frame>, bool) {
    let mut decoder = ReplyDecoder::new(ReplyLimit::default());
    let (mut buffer, mut all) = (BytesMut::new(), Vec::new());
    for chunk in bytes.chunks(piece.max(1)) {
        buffer.extend_from_slice(chunk);
        loop {
            match decoder.decode(&mut buffer) {
                Ok(Some(frame)) => all.push(frame),
                Ok(None) => break,
                Err(_) => return (all, true),
            }
        }
    }
    (all, false)
}

pub(crate) fn reply(bytes: &[u8]) {
    let (whole, broken) = replies(bytes, bytes.len());
    for piece in [1, 3] {
        // Not compared as values: a double may be NaN.
        let (pieces, too) = replies(bytes, piece);
        assert_eq!((format!("{pieces:?}"), too), (format!("{whole:?}"), broken));
    }
    for frame in &whole {
        let mut written = BytesMut::new();
        encode(frame, Protocol::Resp3, &mut written);
        let (again, broken) = replies(&written, 11);
        assert!(
            !broken && again.len() == 1,
            "{frame:?} is written as {written:?}"
        );
        encode(frame, Protocol::Resp2, &mut written);
    }
}
