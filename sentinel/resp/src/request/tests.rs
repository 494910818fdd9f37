//! What a server takes for a request, how it words its refusals, and that pieces do not matter.

use proptest::prelude::*;

use super::*;
use crate::frame::{Frame, Protocol, encode};

type Outcome = (Vec<Vec<Bytes>>, Option<RequestError>);

/// Feeds `input` in pieces that end at `cuts` and collects all requests up to the first error.
fn decoded(input: &[u8], cuts: &[usize], password_needed: bool) -> Outcome {
    let mut decoder = RequestDecoder::new(RequestLimit::default());
    decoder.require_password(password_needed);
    let (mut buffer, mut requests) = (BytesMut::new(), Vec::new());
    let mut ends: Vec<usize> = cuts.iter().map(|cut| cut % (input.len() + 1)).collect();
    ends.extend([0, input.len()]);
    ends.sort_unstable();
    for piece in ends.windows(2) {
        buffer.extend_from_slice(&input[piece[0]..piece[1]]);
        loop {
            match decoder.decode(&mut buffer) {
                Ok(Some(words)) => requests.push(words),
                Ok(None) => break,
                Err(error) => return (requests, Some(error)),
            }
        }
    }
    (requests, None)
}

fn refused(input: &[u8]) -> String {
    format!("ERR {}", decoded(input, &[], false).1.expect("a refusal"))
}

fn words(words: &[&'static str]) -> Vec<Bytes> {
    words
        .iter()
        .map(|word| Bytes::from_static(word.as_bytes()))
        .collect()
}

#[test]
fn arrays_inline_commands_and_empty_lines_may_be_mixed() {
    let input = b"PING\r\n\r\n\n*0\r\n*-1\r\n*2\r\n$4\r\nPING\r\n$0\r\n\r\nrole\n";
    let (requests, error) = decoded(input, &[], false);
    assert_eq!(
        requests,
        [words(&["PING"]), words(&["PING", ""]), words(&["role"])]
    );
    assert_eq!(error, None);
}

#[test]
fn refusals_are_worded_as_by_the_server() {
    assert_eq!(
        refused(b"*x\r\n"),
        "ERR Protocol error: invalid multibulk length"
    );
    assert_eq!(
        refused(b"*2147483648\r\n"),
        "ERR Protocol error: invalid multibulk length"
    );
    assert_eq!(
        refused(b"*1\r\nPING\r\n"),
        "ERR Protocol error: expected '$', got 'P'"
    );
    assert_eq!(
        refused(b"*1\r\n$-1\r\n"),
        "ERR Protocol error: invalid bulk length"
    );
    assert_eq!(
        refused(b"*1\r\n$04\r\n"),
        "ERR Protocol error: invalid bulk length"
    );
    assert_eq!(
        refused(b"*1\r\n$999999999\r\n"),
        "ERR Protocol error: invalid bulk length"
    );
    assert_eq!(
        refused(b"a \"b\r\n"),
        "ERR Protocol error: unbalanced quotes in request"
    );
    let long = vec![b'1'; LINE_BYTES_MAX + 1];
    assert_eq!(refused(&long), "ERR Protocol error: too big inline request");
    let count = [b"*".as_slice(), &long].concat();
    assert_eq!(
        refused(&count),
        "ERR Protocol error: too big mbulk count string"
    );
    let length = [b"*1\r\n$".as_slice(), &long].concat();
    assert_eq!(
        refused(&length),
        "ERR Protocol error: too big bulk count string"
    );
}

#[test]
fn a_client_without_its_password_may_send_only_little() {
    let error = decoded(b"*11\r\n", &[], true).1;
    assert_eq!(error, Some(RequestError::UnauthenticatedMultibulkLength));
    let error = decoded(b"*1\r\n$16385\r\n", &[], true).1;
    assert_eq!(error, Some(RequestError::UnauthenticatedBulkLength));
    assert_eq!(decoded(b"*10\r\n$16384\r\n", &[], true).1, None);
}

#[test]
fn the_words_of_a_request_have_a_limit_together() {
    let word = [b"$60000\r\n".as_slice(), &vec![b'x'; 60_000], b"\r\n"].concat();
    let input = [b"*5\r\n".as_slice(), &word.repeat(5)].concat();
    assert_eq!(
        decoded(&input, &[], false).1,
        Some(RequestError::InvalidBulkLength)
    );
}

#[test]
fn a_browser_led_astray_is_cut_off() {
    let input = b"POST / HTTP/1.1\r\nHost: localhost\r\n\r\nSHUTDOWN\r\n";
    assert_eq!(
        decoded(input, &[], false),
        (Vec::new(), Some(RequestError::ForeignProtocol))
    );
}

#[test]
fn a_slow_line_is_searched_once() {
    let mut decoder = RequestDecoder::new(RequestLimit::default());
    let mut buffer = BytesMut::from(&[b'a'; 1000][..]);
    assert_eq!(decoder.decode(&mut buffer), Ok(None));
    assert_eq!(decoder.searched, 1000);
}

/// Bytes that are more often nearly right than plain noise is.
fn junk() -> impl Strategy<Value = Vec<u8>> {
    let token = prop_oneof![
        Just(b"\r\n".to_vec()),
        Just(b"*2\r\n".to_vec()),
        Just(b"$3\r\n".to_vec()),
        Just(b"$3\r\nabc\r\n".to_vec()),
        Just(b"PING\r\n".to_vec()),
        Just(b"\"".to_vec()),
        Just(b"*".to_vec()),
        (-3_i64..12).prop_map(|number| number.to_string().into_bytes()),
        prop::collection::vec(any::<u8>(), 0..6),
    ];
    prop::collection::vec(token, 0..24).prop_map(|tokens| tokens.concat())
}

proptest! {
    #[test]
    fn any_bytes_in_any_pieces_give_the_same_requests(
        input in junk(),
        cuts in prop::collection::vec(any::<usize>(), 0..12),
        password_needed: bool,
    ) {
        let whole = decoded(&input, &[], password_needed);
        prop_assert_eq!(&decoded(&input, &cuts, password_needed), &whole);
        let bytewise: Vec<usize> = (0..=input.len()).collect();
        prop_assert_eq!(&decoded(&input, &bytewise, password_needed), &whole);
        prop_assert!(whole.0.iter().all(|words| !words.is_empty()));
    }

    #[test]
    fn what_is_encoded_comes_back(
        requests in prop::collection::vec(
            prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40), 1..6), 0..6),
        cuts in prop::collection::vec(any::<usize>(), 0..12),
    ) {
        let requests: Vec<Vec<Bytes>> = requests
            .into_iter()
            .map(|words| words.into_iter().map(Bytes::from).collect())
            .collect();
        let mut buffer = BytesMut::new();
        for words in &requests {
            encode(&Frame::command(words.iter().cloned()), Protocol::Resp2, &mut buffer);
        }
        prop_assert_eq!(decoded(&buffer, &cuts, false), (requests, None));
    }
}
