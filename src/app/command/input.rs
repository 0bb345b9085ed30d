//! Input of runs and content of signals, as people type it: `KEY=TEXT`, `KEY:=JSON`, or a file.

use std::io::Read;

use serde_json::{Map, Value};

/// What the words come to, later ones over earlier ones; none without any.
///
/// # Errors
/// What is wrong with which word.
pub(super) fn object(words: &[String]) -> Result<Option<Map<String, Value>>, String> {
    object_with(words, &read)
}

fn object_with(
    words: &[String],
    read: &dyn Fn(&str) -> std::io::Result<String>,
) -> Result<Option<Map<String, Value>>, String> {
    let mut all = Map::new();
    for word in words {
        match pair(word) {
            Some((key, false, text)) => {
                all.insert(key.to_owned(), Value::String(text.to_owned()));
            }
            Some((key, true, json)) => {
                let value = serde_json::from_str(json).map_err(|error| {
                    format!("{key}:={json}: not JSON ({error}); a text is given by {key}={json}, or as {key}:='\"…\"'")
                })?;
                all.insert(key.to_owned(), value);
            }
            None => all.extend(file(word, read)?),
        }
    }
    Ok((!words.is_empty()).then_some(all))
}

/// Key and value of `KEY=TEXT`, and of `KEY:=JSON`; none for what is a file.
fn pair(word: &str) -> Option<(&str, bool, &str)> {
    let (key, value) = word.split_once('=')?;
    let (key, json) = match key.strip_suffix(':') {
        Some(key) => (key, true),
        None => (key, false),
    };
    let begins = key.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
    let fits = key.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-');
    (begins && fits).then_some((key, json, value))
}

fn file(name: &str, read: &dyn Fn(&str) -> std::io::Result<String>) -> Result<Map<String, Value>, String> {
    let text = read(name)
        .map_err(|error| format!("{name}: {error}; give KEY=TEXT, KEY:=JSON, or a file (- is standard input)"))?;
    // JSON first: not all of it is YAML.
    let value = match serde_json::from_str(&text) {
        Ok(value) => value,
        Err(_) => {
            serde_saphyr::from_str::<Value>(&text).map_err(|error| format!("{name}: neither JSON nor YAML: {error}"))?
        }
    };
    match value {
        Value::Object(fields) => Ok(fields),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => {
            Err(format!("{name}: not an object; write `key: value` lines"))
        }
    }
}

fn read(name: &str) -> std::io::Result<String> {
    if name == "-" {
        let mut text = String::new();
        std::io::stdin().lock().read_to_string(&mut text)?;
        return Ok(text);
    }
    std::fs::read_to_string(name)
}

#[cfg(test)]
mod tests {
    use std::io;

    use serde_json::json;

    use super::*;

    fn of(words: &[&str]) -> Result<Value, String> {
        let words: Vec<String> = words.iter().map(|&word| word.to_owned()).collect();
        let files = |name: &str| match name {
            "order.yaml" => Ok("orderId: \"7\"\nlines: [{sku: a}]\n".to_owned()),
            "-" => Ok(r#"{"from": "stdin"}"#.to_owned()),
            "list.json" => Ok("[1]".to_owned()),
            "broken" => Ok("{a: [".to_owned()),
            _ => Err(io::Error::from(io::ErrorKind::NotFound)),
        };
        object_with(&words, &files).map(|object| object.map_or(Value::Null, Value::Object))
    }

    #[test]
    fn texts_are_texts_and_json_is_json() {
        assert_eq!(of(&[]), Ok(Value::Null));
        assert_eq!(
            of(&["orderId=1042", "amount:=250000"]),
            Ok(json!({"orderId": "1042", "amount": 250_000}))
        );
        assert_eq!(
            of(&["q=a=b", "empty=", "list:=[1]"]),
            Ok(json!({"q": "a=b", "empty": "", "list": [1]}))
        );
    }

    #[test]
    fn files_are_read_and_what_comes_later_wins() {
        assert_eq!(
            of(&["order.yaml", "orderId=8", "-"]),
            Ok(json!({"orderId": "8", "lines": [{"sku": "a"}], "from": "stdin"}))
        );
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (word, expected) in [
            ("a:=x", "not JSON"),
            ("list.json", "not an object"),
            ("broken", "neither JSON nor YAML"),
            ("nowhere.yaml", "KEY=TEXT"),
            ("=x", "KEY=TEXT"),
        ] {
            let problem = of(&[word]).unwrap_err();
            assert!(problem.contains(expected), "{problem}");
        }
    }
}
