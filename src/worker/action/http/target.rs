//! From a URL template to the place and the path of a request. Pure. Values can add no segment, no parameter and no
//! host: everything but letters, digits, `-`, `_`, `~` and `.` is percent-encoded. Not headers and body.

use serde_json::{Map, Value};
use url::{Host, Url};

use super::template::{fill, join_query};
use crate::engine::{ErrorKind, StepError};

/// Where a request goes.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Target {
    /// A name in lower case, or an address without brackets.
    pub(super) host: String,
    pub(super) port: u16,
    pub(super) tls: bool,
    /// The Host header: with brackets, and with the port unless it is the scheme's own.
    pub(super) authority: String,
    /// Path and query, as they go over the wire.
    pub(super) path: String,
}

/// Splits an absolute URL template into `scheme://authority` and the rest; places for values are in the rest only.
pub(super) fn split(url: &str) -> Result<(&str, &str), StepError> {
    let after = url
        .find("://")
        .map(|at| at + 3)
        .ok_or_else(|| invalid_url("it must begin with https:// or http://"))?;
    let end = url[after..]
        .find(['/', '?', '#', '\\'])
        .map_or(url.len(), |at| after + at);
    let (base, rest) = url.split_at(end);
    if base.contains(['{', '}']) {
        return Err(invalid_url("pathParams cannot stand in the host"));
    }
    Ok((base, rest))
}

/// The target of `base` followed by the path template, with `{name}` places and query parameters filled in.
///
/// Errors: kind Refused, codes `InvalidUrl`, `InvalidPath`, `InvalidPathParam`, `InvalidQuery`.
pub(super) fn resolve(
    base: &str,
    template: &str,
    path_params: &Map<String, Value>,
    query: &Map<String, Value>,
) -> Result<Target, StepError> {
    if base
        .chars()
        .chain(template.chars())
        .any(|c| c.is_control() || c == '\\' || c == ' ')
    {
        return Err(invalid_url("it holds a control character, a space or a backslash"));
    }
    if template.contains('#') {
        return Err(invalid_path("a fragment is never sent"));
    }
    if !(template.is_empty() || template.starts_with(['/', '?'])) {
        return Err(invalid_path("it must begin with /"));
    }
    let mut url = Url::parse(base).map_err(|error| invalid_url(&error.to_string()))?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(invalid_url("it must begin with https:// or http://"));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(invalid_url("it must hold no user or password"));
    }
    let filled = fill(template, path_params)?;
    let (path, own_query) = match filled.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (filled.as_str(), None),
    };
    let path = format!("{}{path}", url.path().trim_end_matches('/'));
    if path.split('/').any(is_dot_segment) {
        return Err(invalid_path("a segment is . or .. after pathParams are filled in"));
    }
    url.set_path(&path);
    url.set_query(join_query(own_query, query)?.as_deref());
    target(&url)
}

fn target(url: &Url) -> Result<Target, StepError> {
    let host = match url.host() {
        Some(Host::Domain(name)) if !name.is_empty() => name.to_owned(),
        Some(Host::Ipv4(address)) => address.to_string(),
        Some(Host::Ipv6(address)) => address.to_string(),
        Some(Host::Domain(_)) | None => return Err(invalid_url("it has no host")),
    };
    let port = url
        .port_or_known_default()
        .filter(|port| *port != 0)
        .ok_or_else(|| invalid_url("it has no port"))?;
    let mut authority = url.host_str().unwrap_or_default().to_owned();
    if let Some(port) = url.port() {
        authority.push_str(&format!(":{port}"));
    }
    let path = match url.query() {
        Some(query) => format!("{}?{query}", url.path()),
        None => url.path().to_owned(),
    };
    Ok(Target {
        host,
        port,
        tls: url.scheme() == "https",
        authority,
        path,
    })
}

/// URL parsers read `%2e` as a dot.
fn is_dot_segment(segment: &str) -> bool {
    let decoded = segment.to_ascii_lowercase().replace("%2e", ".");
    decoded == "." || decoded == ".."
}

fn invalid_url(problem: &str) -> StepError {
    StepError::new(
        ErrorKind::Refused,
        "InvalidUrl",
        format!("the URL is refused: {problem}"),
    )
}

fn invalid_path(problem: &str) -> StepError {
    StepError::new(
        ErrorKind::Refused,
        "InvalidPath",
        format!("the path is refused: {problem}"),
    )
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn object(value: &Value) -> Map<String, Value> {
        value.as_object().unwrap().clone()
    }

    fn url(template: &str) -> Result<Target, StepError> {
        let (base, rest) = split(template)?;
        resolve(base, rest, &Map::new(), &Map::new())
    }

    #[test]
    fn base_path_params_and_query_are_joined() {
        let target = resolve(
            "https://api.example.com:8443/v1/",
            "/charges/{id}/refund?full=true",
            &object(&json!({"id": "ch 1/ü"})),
            &object(&json!({"q": "a&b=c", "tag": ["x", 2], "deep": {"a": 1}})),
        )
        .unwrap();
        assert_eq!(
            (target.host.as_str(), target.port, target.tls),
            ("api.example.com", 8443, true)
        );
        assert_eq!(target.authority, "api.example.com:8443");
        assert_eq!(
            target.path,
            "/v1/charges/ch%201%2F%C3%BC/refund?full=true&deep=%7B%22a%22%3A1%7D&q=a%26b%3Dc&tag=x&tag=2"
        );
    }

    #[test]
    fn other_spellings_of_an_address_become_that_address() {
        for (template, host) in [
            ("http://0x7f.1/", "127.0.0.1"),
            ("http://2130706433/", "127.0.0.1"),
            ("http://017700000001/", "127.0.0.1"),
            ("http://127.1/", "127.0.0.1"),
            ("http://１２７.0.0.1/", "127.0.0.1"),
            ("http://[::ffff:127.0.0.1]/", "::ffff:7f00:1"),
            ("http://%6c%6fcalhost/", "localhost"),
            ("http://LOCALHOST/", "localhost"),
        ] {
            let found = url(template).unwrap().host;
            let same = found == host || found.parse::<std::net::IpAddr>().ok() == host.parse().ok();
            assert!(same, "{template}: {found}");
        }
    }

    #[test]
    fn url_tricks_are_refused() {
        for template in [
            "api.example.com/x",
            "//api.example.com/x",
            "https:api.example.com",
            "https:/api.example.com",
            "file:///etc/passwd",
            "ftp://example.com/",
            "gopher://example.com/",
            "javascript://example.com/%0aalert(1)",
            "https://user@example.com/",
            "https://user:pass@example.com/",
            "https://example.com@127.0.0.1/",
            "https://example.com\\@127.0.0.1/",
            "https://exam\tple.com/",
            "https://example.com/\r\nX: y",
            "https://{host}/",
            "https:///",
            "https://example.com:99999/",
            "https://example.com:0/",
            "https://example.com/a#b",
            "https://example.com/a/../b",
            "https://example.com/%2e%2E/b",
            "https://example.com/.%2e",
            "https://example.com/a\\..\\b",
            "https://[::1",
            "https://exa mple.com/",
        ] {
            assert_eq!(url(template).unwrap_err().kind, ErrorKind::Refused, "{template}");
        }
    }

    #[test]
    fn path_cannot_leave_the_base_or_the_host() {
        for path in [
            "x",
            "@evil.com/",
            ":80/",
            "/../admin",
            "/a/./b",
            "/%2e%2e/admin",
            "\\evil.com",
            "/a#b",
            "/{",
            "/}",
        ] {
            let error = resolve("https://api.example.com/v1", path, &Map::new(), &Map::new()).unwrap_err();
            assert_eq!(error.kind, ErrorKind::Refused, "{path}");
        }
        let target = resolve("https://api.example.com/v1", "//evil.com/x", &Map::new(), &Map::new()).unwrap();
        assert_eq!(
            (target.host.as_str(), target.path.as_str()),
            ("api.example.com", "/v1//evil.com/x")
        );
    }

    #[test]
    fn every_place_has_one_value_and_every_value_a_place() {
        for (params, part) in [
            (json!({}), "not given"),
            (json!({"id": null}), "null"),
            (json!({"id": ""}), "empty"),
            (json!({"id": "1", "other": "2"}), "other"),
        ] {
            let error = resolve("https://a", "/x/{id}", &object(&params), &Map::new()).unwrap_err();
            assert_eq!(error.code, "InvalidPathParam");
            assert!(error.message.contains(part), "{}", error.message);
        }
        for value in ["..", "."] {
            let error = resolve("https://a", "/x/{id}", &object(&json!({"id": value})), &Map::new()).unwrap_err();
            assert_eq!(error.code, "InvalidPath");
        }
        let error = resolve(
            "https://a",
            "/x/{p}{q}/y",
            &object(&json!({"p": ".", "q": "."})),
            &Map::new(),
        )
        .unwrap_err();
        assert_eq!(error.code, "InvalidPath");
        let error = resolve("https://a", "/", &Map::new(), &object(&json!({"q": null}))).unwrap_err();
        assert_eq!(error.code, "InvalidQuery");
    }

    fn decode(text: &str) -> String {
        let mut bytes = Vec::new();
        let mut rest = text.as_bytes();
        while let [first, tail @ ..] = rest {
            if *first == b'%' {
                bytes.push(u8::from_str_radix(std::str::from_utf8(&tail[..2]).unwrap(), 16).unwrap());
                rest = &tail[2..];
            } else {
                bytes.push(*first);
                rest = tail;
            }
        }
        String::from_utf8(bytes).unwrap()
    }

    proptest! {
        #[test]
        fn value_stays_one_segment_and_comes_back_unchanged(value in "(?s).{1,40}") {
            let params = object(&json!({"id": value}));
            match resolve("https://a.example", "/x/{id}/y", &params, &Map::new()) {
                Ok(target) => {
                    let segments: Vec<_> = target.path.split('/').collect();
                    prop_assert_eq!(segments.len(), 4);
                    prop_assert_eq!((segments[1], segments[3]), ("x", "y"));
                    prop_assert_eq!(decode(segments[2]), value);
                    prop_assert!(target.path.bytes().all(|byte| byte.is_ascii_graphic()));
                }
                Err(_) => prop_assert!(value == "." || value == ".."),
            }
        }

        #[test]
        fn query_value_stays_one_parameter(name in "(?s).{1,20}", value in "(?s).{0,40}") {
            let mut query = Map::new();
            query.insert(name.clone(), json!(value));
            let target = resolve("https://a.example", "/", &Map::new(), &query).unwrap();
            let (found, rest) = target.path.strip_prefix("/?").unwrap().split_once('=').unwrap();
            prop_assert_eq!(decode(found), name);
            prop_assert_eq!(decode(rest), value);
            prop_assert!(!rest.contains(['&', '=', '#', '+']));
        }
    }
}
