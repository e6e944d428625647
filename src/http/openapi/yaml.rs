//! A JSON value as YAML: one entry a line, texts as JSON writes them, which YAML reads as well.
//!
//! Elsewhere: what is written (`openapi`).

use serde_json::Value;

/// The value as a YAML document.
pub(super) fn text(value: &Value) -> String {
    let mut text = String::new();
    write(value, 0, &mut text);
    text
}

/// Writes behind a key's colon or a dash, or at the very beginning.
fn write(value: &Value, depth: usize, text: &mut String) {
    let line = |text: &mut String| {
        if depth > 0 || !text.is_empty() {
            text.push('\n');
        }
        text.push_str(&"  ".repeat(depth));
    };
    match value {
        Value::Object(entries) if !entries.is_empty() => {
            for (key, value) in entries {
                line(text);
                text.push_str(&Value::from(key.as_str()).to_string());
                text.push(':');
                write(value, depth + 1, text);
            }
        }
        Value::Array(items) if !items.is_empty() => {
            for item in items {
                line(text);
                text.push('-');
                write(item, depth + 1, text);
            }
        }
        // Empty ones, too, are the same in both.
        plain => {
            text.push(' ');
            text.push_str(&plain.to_string());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_is_written_is_read_back() {
        for value in [
            json!({"a": [1, -2.5, true, null], "b": {}, "c": [], "d": {"e": [{"f": [[1], [2, 3]]}, {}]}}),
            json!({"200": "yes", "no: ": "a: b # c", "quoted\"": "line\nline\t\u{1f600}\\", "": "~"}),
            json!([[], {}, "x"]),
            json!("text"),
        ] {
            let written = text(&value);
            let read: Value =
                serde_yaml_ng::from_str(&written).unwrap_or_else(|error| panic!("{error}: {written}"));
            assert_eq!(read, value, "{written}");
        }
    }
}
