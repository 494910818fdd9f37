//! The one question that clients ask all the time: where a master is.

/// The name that is asked for, if these words ask where the master of a name is, as Redis or as Valkey
/// calls it.
#[must_use]
pub fn asked_master([command, sub, name]: [&[u8]; 3]) -> Option<&[u8]> {
    let known = SUBCOMMANDS
        .iter()
        .any(|known| sub.eq_ignore_ascii_case(known.as_bytes()));
    (known && command.eq_ignore_ascii_case(b"sentinel")).then_some(name)
}

/// What this question is called. Whoever may use only one of these is nobody to be answered quickly.
pub(crate) const SUBCOMMANDS: [&str; 2] = ["get-master-addr-by-name", "get-primary-addr-by-name"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_question_is_known_in_any_case_and_under_both_names() {
        let asked = |command: &'static str, sub: &'static str| {
            asked_master([command.as_bytes(), sub.as_bytes(), b"Lake"])
        };
        assert_eq!(
            asked("SENTINEL", "GET-MASTER-ADDR-BY-NAME"),
            Some(&b"Lake"[..])
        );
        assert_eq!(
            asked("sentinel", "get-Primary-addr-by-name"),
            Some(&b"Lake"[..])
        );
        assert_eq!(asked("sentinel", "master"), None);
        assert_eq!(asked("client", "get-master-addr-by-name"), None);
    }
}
