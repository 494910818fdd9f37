//! Glob patterns, as subscriptions, rules of users and `SENTINEL RESET` use them.

/// Matches a name against a glob of `*`, `?`, `[…]` and `\`, as the server's PSUBSCRIBE does.
///
/// Takes a time of pattern × name at most, whatever the pattern: on a mismatch only the last `*`
/// takes one character more.
pub(crate) fn matches(pattern: &[u8], name: &[u8]) -> bool {
    let (mut pattern, mut name) = (pattern, name);
    let mut last_star: Option<(&[u8], &[u8])> = None;
    loop {
        if let Some((b'*', rest)) = pattern.split_first() {
            last_star = Some((rest, name));
            pattern = rest;
            continue;
        }
        let stepped = match (step(pattern, name), name.split_first()) {
            (None, None) if pattern.is_empty() => return true,
            (Some(rest), Some((_, tail))) => Some((rest, tail)),
            (_, _) => None,
        };
        if let Some(next) = stepped {
            (pattern, name) = next;
            continue;
        }
        let Some((after, from)) = last_star else {
            return false;
        };
        let Some((_, tail)) = from.split_first() else {
            return false;
        };
        last_star = Some((after, tail));
        (pattern, name) = (after, tail);
    }
}

/// What is left of a pattern without `*` in front after it took the first byte of `name`.
fn step<'a>(pattern: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    let byte = *name.first()?;
    match pattern {
        [b'?', rest @ ..] => Some(rest),
        [b'[', rest @ ..] => {
            let end = rest.iter().position(|byte| *byte == b']')?;
            let (class, rest) = (rest.get(..end)?, rest.get(end.saturating_add(1)..)?);
            let (class, wanted) = match class.split_first() {
                Some((b'^', class)) => (class, false),
                _ => (class, true),
            };
            (in_class(class, byte) == wanted).then_some(rest)
        }
        [b'\\', literal, rest @ ..] | [literal, rest @ ..] => (*literal == byte).then_some(rest),
        [] => None,
    }
}

fn in_class(class: &[u8], byte: u8) -> bool {
    let mut rest = class;
    loop {
        rest = match rest {
            [] => return false,
            [low, b'-', high, tail @ ..] => {
                if (*low..=*high).contains(&byte) {
                    return true;
                }
                tail
            }
            [one, tail @ ..] => {
                if *one == byte {
                    return true;
                }
                tail
            }
        };
    }
}

#[cfg(test)]
mod tests {
    use super::matches;

    #[test]
    fn patterns_match_as_the_servers_do() {
        for (pattern, name, expected) in [
            ("*", "+switch-master", true),
            ("+s*", "+sdown", true),
            ("-s*", "+sdown", false),
            ("?sdown", "-sdown", true),
            ("[+-]odown", "-odown", true),
            ("[^+]odown", "+odown", false),
            ("[a-c]", "b", true),
            ("\\*", "*", true),
            ("\\*", "x", false),
            ("", "", true),
            ("[", "a", false),
            ("*master", "+switch-master", true),
            ("*ma*er*", "+switch-master", true),
            ("*ma*x*", "+switch-master", false),
            ("a*", "", false),
            ("***", "", true),
        ] {
            assert_eq!(
                matches(pattern.as_bytes(), name.as_bytes()),
                expected,
                "{pattern} {name}"
            );
        }
    }

    #[test]
    fn no_pattern_takes_long() {
        let stars = "*a".repeat(50_000);
        let name = "a".repeat(60);
        assert!(!matches(format!("{stars}b").as_bytes(), name.as_bytes()));
    }
}
