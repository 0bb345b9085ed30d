//! Reading an `http` action: its target, and which parts an author may set.

use super::{
    action::{self, Http},
    limits,
    reader::{Fields, Node},
    scope::{Place, Uses},
    valid_object_name,
};
use crate::engine::request::HttpTarget;

/// Methods, and whether repeating a request with it is safe (RFC 9110 §9.2.2).
const METHODS: [(&str, bool); 7] = [
    ("GET", true),
    ("HEAD", true),
    ("POST", false),
    ("PUT", true),
    ("PATCH", false),
    ("DELETE", true),
    ("OPTIONS", true),
];

/// Headers that the worker sets itself, or that would break its framing.
const RESERVED_HEADERS: [&str; 5] = [
    "host",
    "content-length",
    "transfer-encoding",
    "connection",
    "idempotency-key",
];

pub(super) fn parse(node: &Node<'_>, uses: &mut Uses) -> Option<Http> {
    let mut fields = node.fields()?;
    let target = target(&mut fields);
    let (method, safe) = match fields.get("method") {
        None => Some(METHODS[0]),
        Some(node) => method(&node),
    }
    .unwrap_or(METHODS[0]);
    let path_params = fields.get("pathParams").and_then(|params| {
        let (names, formula) = action::object(&params, uses)?;
        check_places(target.as_ref(), &names, &params);
        formula
    });
    if let Some(target) = &target
        && !fields.has("pathParams")
        && let Some(place) = places(template(target)).first()
    {
        fields.report(format!(
            "the path has a place {{{place}}}; give it a value in `pathParams`"
        ));
    }
    let query = fields.get("query").and_then(|query| action::object(&query, uses)?.1);
    let headers = fields.get("headers").and_then(|headers| {
        let (names, formula) = action::object(&headers, uses)?;
        names.iter().for_each(|name| check_header(name, &headers));
        formula
    });
    let body = fields
        .get_value("body")
        .and_then(|body| uses.formula(&body, Place::Step));
    let success_when = fields
        .get("successWhen")
        .and_then(|when| uses.condition(&when, Place::AfterAction));
    let idempotent = fields.get("idempotent").and_then(|idempotent| idempotent.boolean());
    fields.finish();
    Some(Http {
        target: target?,
        method: method.to_owned(),
        path_params,
        query,
        headers,
        body,
        success_when,
        repeatable: safe || idempotent == Some(true),
    })
}

fn target(fields: &mut Fields<'_>) -> Option<HttpTarget> {
    let connection = fields.get("connection");
    let path = fields.get("path");
    let url = fields.get("url");
    match (connection, path, url) {
        (Some(connection), Some(path), None) => {
            let name = valid_object_name(&connection);
            let text = path.text(limits::URL_BYTES)?;
            if !text.starts_with('/') {
                path.report("must begin with `/`");
                return None;
            }
            Some(HttpTarget::Connection {
                name: name?.to_owned(),
                path: clean(&path, text)?.to_owned(),
            })
        }
        (None, None, Some(url)) => {
            let text = url.text(limits::URL_BYTES)?;
            if !text.starts_with("https://") && !text.starts_with("http://") {
                url.report("must begin with `https://` or `http://`");
                return None;
            }
            let host = text
                .split("://")
                .nth(1)
                .and_then(|rest| rest.split(['/', '?', '#']).next())
                .unwrap_or_default();
            if host.is_empty() || host.contains(['{', '}', '@']) {
                url.report("must name a host, without user and password, and not by a `{place}`");
                return None;
            }
            Some(HttpTarget::Url(clean(&url, text)?.to_owned()))
        }
        _ => {
            fields.report("needs either `connection` and `path`, or `url`");
            None
        }
    }
}

/// Text without what could end a line of the request or hide in it.
fn clean<'a>(node: &Node<'_>, text: &'a str) -> Option<&'a str> {
    if text.chars().any(|c| c.is_whitespace() || c.is_control()) {
        node.report("must not hold spaces or control characters; write %20 for a space");
        return None;
    }
    if text.contains('#') {
        node.report("must not hold a fragment (`#`): it is never sent");
        return None;
    }
    Some(text)
}

fn method(node: &Node<'_>) -> Option<(&'static str, bool)> {
    let text = node.string()?;
    let found = METHODS.into_iter().find(|(name, _)| *name == text);
    if found.is_none() {
        let names: Vec<&str> = METHODS.iter().map(|(name, _)| *name).collect();
        node.report(format!("must be one of {}", names.join(", ")));
    }
    found
}

fn check_places(target: Option<&HttpTarget>, names: &[&String], params: &Node<'_>) {
    let Some(target) = target else { return };
    let places = places(template(target));
    for name in names.iter().filter(|name| !places.contains(&name.as_str())) {
        params.report(format!("the path has no place {{{name}}}"));
    }
    for place in places.iter().filter(|place| !names.iter().any(|name| name == *place)) {
        params.report(format!("the path has a place {{{place}}}; give it a value"));
    }
}

fn template(target: &HttpTarget) -> &str {
    match target {
        HttpTarget::Connection { path, .. } => path,
        HttpTarget::Url(url) => url,
    }
}

/// The names in braces, each once. A brace that is not closed opens no place.
fn places(template: &str) -> Vec<&str> {
    let mut places = Vec::new();
    for rest in template.split('{').skip(1) {
        if let Some((place, _)) = rest.split_once('}')
            && !places.contains(&place)
        {
            places.push(place);
        }
    }
    places
}

fn check_header(name: &str, headers: &Node<'_>) {
    let lower = name.to_ascii_lowercase();
    let token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    if name.is_empty() || name.len() > 256 || !name.bytes().all(token) {
        headers.report("has a name that is no header name");
    } else if RESERVED_HEADERS.contains(&lower.as_str()) || lower.starts_with("proxy-") {
        headers.report(format!("`{name}` is set by the worker and cannot be chosen"));
    } else if lower == "authorization" {
        headers.report(format!(
            "`{name}` comes only from the Secret of a Connection; use `connection` with `auth`"
        ));
    }
}
