//! The files of the corpus: found, read, and what they expect.

use std::{fs, path::Path};

use regex::{Captures, Regex};
use serde_json::Value;

/// What must come of a file; the forms are explained in `main.rs`.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Expected {
    Refused(String),
    Invalid(String),
    Fails(String),
    Works(Option<Value>),
    Dev(String),
}

/// One file.
pub(crate) struct Case {
    /// `category/name.yaml`
    pub(crate) place: String,
    pub(crate) category: String,
    pub(crate) expected: Expected,
    pub(crate) text: String,
}

impl Case {
    /// The same with a placeholder replaced.
    pub(crate) fn with(mut self, placeholder: &str, value: &str) -> Self {
        self.text = self.text.replace(placeholder, value);
        self
    }

    pub(crate) fn documents(&self) -> Vec<Value> {
        // As `dev` reads YAML, and deeper than values may be.
        let options =
            serde_saphyr::options! { strict_booleans: true, budget: serde_saphyr::budget! { max_depth: 200 } };
        serde_saphyr::from_multiple_with_options(&self.text, options)
            .unwrap_or_else(|error| panic!("{}: {error}", self.place))
    }
}

/// Every file below this folder but the sources; a file that cannot be used fails.
pub(crate) fn all() -> Vec<Case> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus");
    let mut cases = Vec::new();
    for category in sorted(&root).into_iter().filter(|path| path.is_dir()) {
        for file in sorted(&category) {
            let category = category.file_name().unwrap().to_str().unwrap().to_owned();
            let place = format!("{category}/{}", file.file_name().unwrap().to_str().unwrap());
            assert!(place.ends_with(".yaml"), "{place} is no manifest");
            // Invalid UTF-8 is input too.
            let text = String::from_utf8(fs::read(&file).unwrap()).unwrap();
            let expected = expected(&text).unwrap_or_else(|| panic!("{place}: the first line says what to expect"));
            cases.push(Case {
                place,
                category,
                expected,
                text: written_out(&text),
            });
        }
    }
    cases
}

fn sorted(directory: &Path) -> Vec<std::path::PathBuf> {
    let mut paths: Vec<_> = fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    paths.sort();
    paths
}

fn expected(text: &str) -> Option<Expected> {
    let line = text.lines().next()?.strip_prefix("# expect: ")?;
    let (word, rest) = line.split_once(": ").unwrap_or((line, ""));
    match (word, rest) {
        ("works", "") => Some(Expected::Works(None)),
        ("works", output) => serde_json::from_str(output)
            .ok()
            .map(|output| Expected::Works(Some(output))),
        (_, "") => None,
        ("refused", message) => Some(Expected::Refused(message.to_owned())),
        ("invalid", message) => Some(Expected::Invalid(message.to_owned())),
        ("fails", code) => Some(Expected::Fails(code.to_owned())),
        ("dev", message) => Some(Expected::Dev(message.to_owned())),
        _ => None,
    }
}

/// `<<text*3>>` is the text three times, with `#` replaced by 0, 1, 2: large files are small in the repository.
fn written_out(text: &str) -> String {
    let repeated = Regex::new(r"(?s)<<(.*?)\*(\d+)>>").unwrap();
    let fill = |found: &Captures<'_>| {
        let count: usize = found[2].parse().unwrap();
        (0..count)
            .map(|index| found[1].replace('#', &index.to_string()))
            .collect::<String>()
    };
    repeated.replace_all(text, fill).into_owned()
}

#[test]
fn expectations_are_read_and_a_file_without_one_is_not_used() {
    assert_eq!(expected("# expect: works\na: 1"), Some(Expected::Works(None)));
    assert_eq!(expected("# expect: fails: X"), Some(Expected::Fails("X".to_owned())));
    assert_eq!(
        expected("# expect: invalid: spec.a: no"),
        Some(Expected::Invalid("spec.a: no".to_owned()))
    );
    for text in [
        "",
        "a: 1",
        "# expect: fails",
        "# expect: sinks: x",
        "a: 1\n# expect: works",
        "# expect: works: {",
    ] {
        assert_eq!(expected(text), None, "{text:?}");
    }
    assert_eq!(written_out("[<<a#, *3>>] <<x>>"), "[a0, a1, a2, ] <<x>>");
}
