//! Whether a live object still says everything that was wanted of it.
//!
//! The API server adds defaults, and others may add labels, containers or annotations of their
//! own; none of that is drift. What we asked for and is no longer there, or is different, is.

use serde_json::Value;

/// Keys below which numbers and texts are Kubernetes quantities (`1000m` = `1`).
const QUANTITIES: [&str; 4] = ["limits", "requests", "sizeLimit", "storage"];

/// Lists that mean exactly what they hold: order and number count.
const EXACT_LISTS: [&str; 4] = ["addresses", "args", "command", "endpoints"];

/// The first field, as a path, in which `live` does not hold what is `wanted`; none if it holds
/// everything.
#[must_use]
pub fn difference(wanted: &Value, live: &Value) -> Option<String> {
    compare("", wanted, Some(live), false)
}

/// The difference below the field called `key`, as a path that begins with it.
fn compare(key: &str, wanted: &Value, live: Option<&Value>, quantity: bool) -> Option<String> {
    let quantity = quantity || QUANTITIES.contains(&key);
    let Some(live) = live else {
        return (!is_empty(wanted)).then(|| key.to_owned());
    };
    let holds = match (wanted, live) {
        (Value::Object(wanted), Value::Object(live)) => {
            return wanted.iter().find_map(|(inner, value)| {
                let path = compare(inner, value, live.get(inner), quantity)?;
                Some(join(key, &path))
            });
        }
        (Value::Array(wanted), Value::Array(live)) => {
            return compare_lists(key, wanted, live, quantity);
        }
        (Value::Null, _) => true,
        (_, Value::Null) => is_empty(wanted),
        (Value::String(_) | Value::Number(_), Value::String(_) | Value::Number(_)) if quantity => {
            same_quantity(wanted, live)
        }
        (
            Value::Array(_)
            | Value::Bool(_)
            | Value::Number(_)
            | Value::Object(_)
            | Value::String(_),
            _,
        ) => wanted == live,
    };
    (!holds).then(|| key.to_owned())
}

fn join(outer: &str, inner: &str) -> String {
    match (outer, inner) {
        ("", path) | (path, "") => path.to_owned(),
        (outer, inner) => format!("{outer}.{inner}"),
    }
}

fn compare_lists(key: &str, wanted: &[Value], live: &[Value], quantity: bool) -> Option<String> {
    let plain = wanted.iter().all(|item| !item.is_object());
    if plain || EXACT_LISTS.contains(&key) {
        let holds = wanted.len() == live.len()
            && wanted
                .iter()
                .zip(live)
                .all(|(one, other)| compare("", one, Some(other), quantity).is_none());
        return (!holds).then(|| key.to_owned());
    }
    wanted.iter().find_map(|one| {
        let holds = live
            .iter()
            .any(|other| compare("", one, Some(other), quantity).is_none());
        if holds {
            return None;
        }
        // Of an item with a name it can be said what is different in it.
        let name = |item: &Value| item.get("name").cloned();
        let same = live
            .iter()
            .find(|other| name(one).is_some() && name(one) == name(other));
        let inner = same.and_then(|other| compare("", one, Some(other), quantity));
        let item = match name(one).as_ref().and_then(Value::as_str) {
            Some(name) => format!("{key}[{name}]"),
            None => key.to_owned(),
        };
        Some(join(&item, inner.as_deref().unwrap_or_default()))
    })
}

/// The API server leaves out what is empty.
fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Bool(flag) => !flag,
        Value::Array(items) => items.is_empty(),
        Value::Object(fields) => fields.values().all(is_empty),
        Value::Number(_) => false,
        Value::String(text) => text.is_empty(),
    }
}

fn same_quantity(wanted: &Value, live: &Value) -> bool {
    let text = |value: &Value| match value {
        Value::String(text) => text.clone(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => {
            value.to_string()
        }
    };
    let (wanted, live) = (text(wanted), text(live));
    wanted == live
        || matches!((milli(&wanted), milli(&live)), (Some(one), Some(other)) if one == other)
}

/// A quantity in thousandths; `None` for what is none or does not fit.
fn milli(text: &str) -> Option<i128> {
    let split = text
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(text.len());
    let (number, suffix) = text.split_at(split);
    let (numerator, denominator): (i128, i128) = match suffix {
        "n" => (1, 1_000_000),
        "u" => (1, 1_000),
        "m" => (1, 1),
        "" => (1_000, 1),
        "k" => (1_000_000, 1),
        "M" => (1_000_000_000, 1),
        "G" => (1_000_000_000_000, 1),
        "T" => (1_000_000_000_000_000, 1),
        "P" => (1_000_000_000_000_000_000, 1),
        "Ki" => (1_000 << 10, 1),
        "Mi" => (1_000 << 20, 1),
        "Gi" => (1_000 << 30, 1),
        "Ti" => (1_000 << 40, 1),
        "Pi" => (1_000 << 50, 1),
        _ => return None,
    };
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let scale = 10_i128.checked_pow(u32::try_from(fraction.len()).ok()?)?;
    let digits: i128 = format!("{whole}{fraction}").parse().ok()?;
    digits
        .checked_mul(numerator)?
        .checked_div(denominator.checked_mul(scale)?)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn holds(wanted: &Value, live: &Value) -> bool {
        difference(wanted, live).is_none()
    }

    #[test]
    fn a_difference_is_named_by_its_path() {
        let of = |image: &str| {
            json!({ "metadata": { "name": "a" }, "spec": { "containers": [
                { "name": "duke", "image": "x" }, { "name": "pipeline", "image": image },
            ] } })
        };
        assert_eq!(
            difference(&of("one"), &of("two")).as_deref(),
            Some("spec.containers[pipeline].image")
        );
        assert_eq!(
            difference(&json!({ "a": { "b": 1 } }), &json!({ "a": {} })).as_deref(),
            Some("a.b")
        );
        assert_eq!(difference(&of("one"), &of("one")), None);
    }

    #[test]
    fn defaults_and_foreign_additions_are_no_drift() {
        let wanted = json!({ "spec": { "replicas": 3, "template": { "containers": [
            { "name": "pipeline", "image": "x" }
        ] }, "securityContext": {} } });
        let live = json!({ "spec": { "replicas": 3, "revisionHistoryLimit": 10, "template": {
            "containers": [
                { "name": "sidecar", "image": "y" },
                { "name": "pipeline", "image": "x", "terminationMessagePath": "/dev/t" }
            ] } } });
        assert!(holds(&wanted, &live));
    }

    #[test]
    fn a_changed_or_lost_field_is_drift() {
        let wanted = json!({ "a": { "b": 1, "c": ["x"] } });
        assert!(!holds(&wanted, &json!({ "a": { "b": 2, "c": ["x"] } })));
        assert!(!holds(&wanted, &json!({ "a": { "c": ["x"] } })));
        assert!(!holds(
            &wanted,
            &json!({ "a": { "b": 1, "c": ["x", "y"] } })
        ));
        assert!(!holds(&wanted, &json!({})));
    }

    #[test]
    fn endpoints_must_be_exactly_ours() {
        let one = json!({ "addresses": ["10.0.0.1"] });
        let two = json!({ "addresses": ["10.0.0.2"] });
        assert!(!holds(
            &json!({ "endpoints": [one] }),
            &json!({ "endpoints": [one, two] })
        ));
        assert!(!holds(
            &json!({ "endpoints": [] }),
            &json!({ "endpoints": [one] })
        ));
        assert!(holds(
            &json!({ "endpoints": [] }),
            &json!({ "endpoints": null })
        ));
    }

    #[test]
    fn quantities_are_compared_by_value() {
        let wanted = json!({ "resources": { "limits": { "cpu": "1000m", "memory": "1024Mi" } } });
        let live = json!({ "resources": { "limits": { "cpu": "1", "memory": "1Gi" } } });
        assert!(holds(&wanted, &live));
        assert!(!holds(
            &live,
            &json!({ "resources": { "limits": { "cpu": "2", "memory": "1Gi" } } })
        ));
        assert_eq!(milli("0.5"), Some(500));
        assert_eq!(milli("1.5Gi"), Some((3_000 << 30) / 2));
        assert_eq!(milli("many"), None);
    }
}
