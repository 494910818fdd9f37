//! That every value survives the wire in both dialects, and that no bytes break the decoder.

use proptest::prelude::*;

use super::*;
use crate::frame::{Protocol, encode};

type Outcome = (Vec<Frame>, Option<ReplyError>);

const LIMIT: ReplyLimit = ReplyLimit {
    depth: 4,
    values: 64,
    reply_bytes: 4096,
};

/// Feeds `input` in pieces that end at `cuts` and collects all replies up to the first error.
fn decoded(input: &[u8], cuts: &[usize], limit: ReplyLimit) -> Outcome {
    let mut decoder = ReplyDecoder::new(limit);
    let (mut buffer, mut replies) = (BytesMut::new(), Vec::new());
    let mut ends: Vec<usize> = cuts.iter().map(|cut| cut % (input.len() + 1)).collect();
    ends.extend([0, input.len()]);
    ends.sort_unstable();
    for piece in ends.windows(2) {
        buffer.extend_from_slice(&input[piece[0]..piece[1]]);
        loop {
            match decoder.decode(&mut buffer) {
                Ok(Some(reply)) => replies.push(reply),
                Ok(None) => break,
                Err(error) => return (replies, Some(error)),
            }
        }
    }
    (replies, None)
}

fn one(input: &[u8]) -> Result<Frame, ReplyError> {
    let (mut replies, error) = decoded(input, &[], LIMIT);
    error.map_or_else(|| Ok(replies.pop().expect("a whole reply")), Err)
}

#[test]
fn every_type_is_read() {
    assert_eq!(one(b"+OK\r\n"), Ok(Frame::ok()));
    assert_eq!(one(b"-ERR no\r\n"), Ok(Frame::error("ERR no")));
    assert_eq!(one(b"!6\r\nERR no\r\n"), Ok(Frame::error("ERR no")));
    assert_eq!(one(b":-7\r\n"), Ok(Frame::Integer(-7)));
    assert_eq!(one(b"$-1\r\n"), Ok(Frame::Null));
    assert_eq!(one(b"*-1\r\n"), Ok(Frame::NullArray));
    assert_eq!(one(b"_\r\n"), Ok(Frame::Null));
    assert_eq!(one(b",-inf\r\n"), Ok(Frame::Double(f64::NEG_INFINITY)));
    assert_eq!(one(b"#t\r\n"), Ok(Frame::Boolean(true)));
    let map = Frame::Map(vec![(Frame::simple("a"), Frame::Array(Vec::new()))]);
    assert_eq!(one(b"%1\r\n+a\r\n*0\r\n"), Ok(map));
}

#[test]
fn attributes_are_dropped_wherever_they_stand() {
    assert_eq!(one(b"|1\r\n+ttl\r\n:3\r\n+OK\r\n"), Ok(Frame::ok()));
    let array = Frame::Array(vec![Frame::Integer(1), Frame::Integer(2)]);
    assert_eq!(
        one(b"*2\r\n:1\r\n|1\r\n+a\r\n*1\r\n:9\r\n:2\r\n"),
        Ok(array)
    );
}

#[test]
fn malformed_replies_are_told_apart() {
    assert_eq!(one(b"?\r\n"), Err(ReplyError::UnknownType(b'?')));
    assert_eq!(one(b"+OK\n"), Err(ReplyError::BadEnd));
    assert_eq!(one(b"$2\r\nabcd"), Err(ReplyError::BadEnd));
    assert_eq!(one(b"$-2\r\n"), Err(ReplyError::BadLength));
    assert_eq!(one(b"%-1\r\n"), Err(ReplyError::BadLength));
    assert_eq!(one(b":1x\r\n"), Err(ReplyError::BadValue));
    assert_eq!(one(b"=3\r\nabc\r\n"), Err(ReplyError::BadValue));
}

#[test]
fn limits_hold_before_the_bytes_came() {
    assert_eq!(one(b"$4097\r\n"), Err(ReplyError::TooLarge));
    assert_eq!(one(b"*65\r\n"), Err(ReplyError::TooLarge));
    assert_eq!(one(b"%9223372036854775807\r\n"), Err(ReplyError::TooLarge));
    assert_eq!(one(&b"*1\r\n".repeat(5)), Err(ReplyError::TooDeep));
    assert_eq!(
        one(&vec![b'+'; LINE_BYTES_MAX + 1]),
        Err(ReplyError::LongLine)
    );
}

#[test]
fn limits_start_anew_with_each_reply() {
    let input = b"$3000\r\n"
        .iter()
        .copied()
        .chain([b'x'; 3000])
        .chain(*b"\r\n");
    let input: Vec<u8> = input.collect();
    assert_eq!(decoded(&input.repeat(3), &[], LIMIT).1, None);
}

fn text() -> impl Strategy<Value = Bytes> {
    prop::collection::vec(any::<u8>(), 0..20).prop_map(Bytes::from)
}

fn line() -> impl Strategy<Value = Bytes> {
    "[ -~]{0,20}".prop_map(Bytes::from)
}

fn frame() -> impl Strategy<Value = Frame> {
    let leaf = prop_oneof![
        "-?[1-9][0-9]{0,30}".prop_map(|digits| Frame::BigNumber(Bytes::from(digits))),
        any::<bool>().prop_map(Frame::Boolean),
        text().prop_map(Frame::Bulk),
        prop::num::f64::NORMAL.prop_map(Frame::Double),
        line().prop_map(Frame::Error),
        any::<i64>().prop_map(Frame::Integer),
        Just(Frame::Null),
        Just(Frame::NullArray),
        line().prop_map(Frame::Simple),
        text().prop_map(|text| Frame::Verbatim {
            format: *b"txt",
            text
        }),
    ];
    leaf.prop_recursive(3, 24, 4, |inner| {
        let items = prop::collection::vec(inner.clone(), 0..4);
        prop_oneof![
            items.clone().prop_map(Frame::Array),
            prop::collection::vec((inner.clone(), inner), 0..3).prop_map(Frame::Map),
            items.clone().prop_map(Frame::Push),
            items.prop_map(Frame::Set),
        ]
    })
}

/// What is left of a value after a trip in `protocol`.
fn lowered(frame: &Frame, protocol: Protocol) -> Frame {
    let each = |items: &[Frame]| items.iter().map(|item| lowered(item, protocol)).collect();
    let typed = protocol == Protocol::Resp3;
    match frame {
        Frame::Push(items) if typed => Frame::Push(each(items)),
        Frame::Set(items) if typed => Frame::Set(each(items)),
        Frame::Map(pairs) if typed => Frame::Map(
            pairs
                .iter()
                .map(|(key, value)| (lowered(key, protocol), lowered(value, protocol)))
                .collect(),
        ),
        Frame::Map(pairs) => Frame::Array(
            pairs
                .iter()
                .flat_map(|(key, value)| [lowered(key, protocol), lowered(value, protocol)])
                .collect(),
        ),
        Frame::Array(items) | Frame::Push(items) | Frame::Set(items) => Frame::Array(each(items)),
        Frame::NullArray if typed => Frame::Null,
        Frame::BigNumber(text) | Frame::Verbatim { text, format: _ } if !typed => {
            Frame::Bulk(text.clone())
        }
        Frame::Boolean(value) if !typed => Frame::Integer(i64::from(*value)),
        Frame::Double(value) if !typed => Frame::bulk(value.to_string()),
        other @ (Frame::BigNumber(_)
        | Frame::Boolean(_)
        | Frame::Bulk(_)
        | Frame::Double(_)
        | Frame::Error(_)
        | Frame::Integer(_)
        | Frame::Null
        | Frame::NullArray
        | Frame::Simple(_)
        | Frame::Verbatim { .. }) => other.clone(),
    }
}

/// Bytes that are more often nearly right than plain noise is.
fn junk() -> impl Strategy<Value = Vec<u8>> {
    let token = prop_oneof![
        Just(b"\r\n".to_vec()),
        Just(b"$3\r\nabc\r\n".to_vec()),
        Just(b"+OK\r\n".to_vec()),
        "[*%>~|$!=:,#_(+-]".prop_map(String::into_bytes),
        "[*%>~|$!=][0-3]\r\n".prop_map(String::into_bytes),
        prop::collection::vec(any::<u8>(), 0..6),
    ];
    prop::collection::vec(token, 0..24).prop_map(|tokens| tokens.concat())
}

/// The text form of an outcome: NaN, which junk may spell, is not equal to itself.
fn shown(outcome: &Outcome) -> String {
    format!("{outcome:?}")
}

proptest! {
    #[test]
    fn any_bytes_in_any_pieces_give_the_same_replies(
        input in junk(),
        cuts in prop::collection::vec(any::<usize>(), 0..12),
    ) {
        let whole = shown(&decoded(&input, &[], LIMIT));
        prop_assert_eq!(&shown(&decoded(&input, &cuts, LIMIT)), &whole);
        let bytewise: Vec<usize> = (0..=input.len()).collect();
        prop_assert_eq!(&shown(&decoded(&input, &bytewise, LIMIT)), &whole);
    }

    #[test]
    fn what_is_encoded_comes_back(
        frames in prop::collection::vec(frame(), 0..4),
        cuts in prop::collection::vec(any::<usize>(), 0..12),
        typed: bool,
    ) {
        let protocol = if typed { Protocol::Resp3 } else { Protocol::Resp2 };
        let mut buffer = BytesMut::new();
        for frame in &frames {
            encode(frame, protocol, &mut buffer);
        }
        let expected: Vec<Frame> = frames.iter().map(|frame| lowered(frame, protocol)).collect();
        prop_assert_eq!(decoded(&buffer, &cuts, ReplyLimit::default()), (expected, None));
    }
}
