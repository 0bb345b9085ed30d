//! One policy, parsed: what it says about a request and about an address. Pure. Not the file it came from.

use std::net::IpAddr;

use ipnet::IpNet;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer};

use super::PolicyError;
use crate::engine::{ErrorKind, StepError};

/// One parsed policy. Immutable: connections remember which one they were made under.
#[derive(Debug)]
pub struct Rules {
    /// `None`: everything is allowed, hosts and addresses.
    listed: Option<Document>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Document {
    allow: Vec<Rule>,
    #[serde(default, deserialize_with = "networks")]
    allow_addresses: Vec<IpNet>,
    #[serde(default, deserialize_with = "networks")]
    block_addresses: Vec<IpNet>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Rule {
    hosts: Vec<String>,
    ports: Vec<u16>,
    methods: Vec<String>,
    namespaces: Vec<String>,
}

impl Rules {
    /// Nothing is allowed.
    pub(super) fn none() -> Self {
        Self {
            listed: Some(Document {
                allow: Vec::new(),
                allow_addresses: Vec::new(),
                block_addresses: Vec::new(),
            }),
        }
    }

    /// Everything is allowed.
    pub(super) fn all() -> Self {
        Self { listed: None }
    }

    pub(in crate::worker) fn parse(text: &str) -> Result<Self, PolicyError> {
        if text.trim().is_empty() {
            // A file caught in the middle of being written looks like this.
            return Err(PolicyError::Invalid(
                "it is empty; write `allow: []` to deny everything".to_owned(),
            ));
        }
        let document: Document =
            serde_saphyr::from_str(text).map_err(|error| PolicyError::Invalid(error.to_string()))?;
        for (index, rule) in document.allow.iter().enumerate() {
            rule.check()
                .map_err(|problem| PolicyError::Invalid(format!("allow[{index}].{problem}")))?;
        }
        Ok(Self { listed: Some(document) })
    }

    /// Whether a namespace's step may send `method` to `host` and `port`.
    pub fn check_request(&self, namespace: &str, host: &str, port: u16, method: &str) -> Result<(), StepError> {
        let Some(document) = &self.listed else { return Ok(()) };
        if document
            .allow
            .iter()
            .any(|rule| rule.matches(namespace, host, port, method))
        {
            return Ok(());
        }
        let message = format!(
            "the egress policy does not allow {method} to {host} port {port} from namespace {namespace}; \
             a cluster admin can add a rule"
        );
        Err(StepError::new(ErrorKind::Refused, "HostNotAllowed", message))
    }

    /// Whether the address is allowed even if it lies in a blocked range.
    pub fn allows_address(&self, address: IpAddr) -> bool {
        match &self.listed {
            None => true,
            Some(document) => contain(&document.allow_addresses, address),
        }
    }

    /// Whether the address lies in a range that the policy blocks; [`allows_address`](Self::allows_address) wins.
    pub fn blocks_address(&self, address: IpAddr) -> bool {
        match &self.listed {
            None => false,
            Some(document) => contain(&document.block_addresses, address),
        }
    }
}

fn contain(nets: &[IpNet], address: IpAddr) -> bool {
    let plain = address.to_canonical();
    nets.iter().any(|net| net.contains(&address) || net.contains(&plain))
}

impl Rule {
    fn check(&self) -> Result<(), String> {
        for (name, empty) in [
            ("hosts", self.hosts.is_empty()),
            ("ports", self.ports.is_empty()),
            ("methods", self.methods.is_empty()),
            ("namespaces", self.namespaces.is_empty()),
        ] {
            if empty {
                return Err(format!("{name} is empty: the rule would allow nothing"));
            }
        }
        if let Some(host) = self.hosts.iter().find(|host| !is_host_pattern(host)) {
            return Err(format!(
                "hosts: {host:?} is not a host name, an address, \"*.suffix\" or \"*\""
            ));
        }
        if self.ports.contains(&0) {
            return Err("ports: 0 is not a port".to_owned());
        }
        if let Some(method) = self.methods.iter().find(|method| !is_method_pattern(method)) {
            return Err(format!("methods: {method:?} is not an upper-case method or \"*\""));
        }
        if self.namespaces.iter().any(String::is_empty) {
            return Err("namespaces: a name is empty".to_owned());
        }
        Ok(())
    }

    fn matches(&self, namespace: &str, host: &str, port: u16, method: &str) -> bool {
        self.ports.contains(&port)
            && self.methods.iter().any(|pattern| pattern == "*" || pattern == method)
            && self
                .namespaces
                .iter()
                .any(|pattern| pattern == "*" || pattern == namespace)
            && self.hosts.iter().any(|pattern| host_matches(pattern, host))
    }
}

fn networks<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<IpNet>, D::Error> {
    let texts = Vec::<String>::deserialize(deserializer)?;
    let parse = |text: &String| {
        text.parse()
            .map_err(|_| D::Error::custom(format!("{text:?} is not a range of addresses like 10.0.0.0/8")))
    };
    texts.iter().map(parse).collect()
}

fn is_host_pattern(pattern: &str) -> bool {
    if pattern == "*" || pattern.parse::<IpAddr>().is_ok() {
        return true;
    }
    let name = pattern.strip_prefix("*.").unwrap_or(pattern);
    !name.is_empty()
        && name.split('.').all(|label| {
            !label.is_empty()
                && label
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
        })
}

fn is_method_pattern(pattern: &str) -> bool {
    pattern == "*" || (!pattern.is_empty() && pattern.bytes().all(|byte| byte.is_ascii_uppercase()))
}

/// `*.example.org` matches every name below example.org, at any depth, and not example.org itself.
fn host_matches(pattern: &str, host: &str) -> bool {
    let host = host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase();
    let pattern = pattern.to_ascii_lowercase();
    if pattern == "*" {
        return true;
    }
    if let (Ok(wanted), Ok(address)) = (pattern.parse::<IpAddr>(), host.parse::<IpAddr>()) {
        return wanted == address;
    }
    match pattern.strip_prefix('*') {
        Some(suffix) => host.strip_suffix(suffix).is_some_and(|rest| !rest.is_empty()),
        None => pattern == host,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const POLICY: &str = r#"
allow:
- {hosts: [api.example.com, "*.example.org"], ports: [443], methods: [GET, POST], namespaces: ["*"]}
- {hosts: ["127.0.0.1"], ports: [8080, 8081], methods: ["*"], namespaces: [shop]}
allowAddresses: [127.0.0.0/8]
"#;

    #[test]
    fn request_needs_one_rule_that_matches_in_every_part() {
        let rules = Rules::parse(POLICY).unwrap();
        let allowed = |namespace, host, port, method| rules.check_request(namespace, host, port, method).is_ok();
        assert!(allowed("shop", "api.example.com", 443, "GET"));
        assert!(allowed("shop", "API.example.com.", 443, "POST"));
        assert!(allowed("shop", "a.example.org", 443, "GET"));
        assert!(allowed("shop", "a.b.example.org", 443, "GET"));
        assert!(allowed("shop", "127.0.0.1", 8081, "DELETE"));
        for (namespace, host, port, method) in [
            ("shop", "api.example.com", 80, "GET"),
            ("shop", "api.example.com", 443, "DELETE"),
            ("shop", "example.org", 443, "GET"),
            ("shop", "evilexample.org", 443, "GET"),
            ("shop", "api.example.com.evil.net", 443, "GET"),
            ("other", "127.0.0.1", 8080, "GET"),
        ] {
            let error = rules.check_request(namespace, host, port, method).unwrap_err();
            assert_eq!(
                (error.kind, error.code.as_str()),
                (ErrorKind::Refused, "HostNotAllowed"),
                "{host}"
            );
        }
    }

    #[test]
    fn invalid_policies_are_refused_with_the_place() {
        for (text, part) in [
            ("", "empty"),
            ("# nothing", ""),
            ("allow: {}", "allow"),
            ("allow: []\nextra: 1", "extra"),
            ("allow: []\nallowAddresses: [127.0.0.0/33]", "127.0.0.0/33"),
            ("allow: []\nallowAddresses: [localhost]", "localhost"),
            ("allow: []\nblockAddresses: [8.8.8.8]", "8.8.8.8"),
            ("allow: []\nblock: []", "block"),
            ("allow: [{hosts: [a.b], ports: [443], methods: [GET]}]", "namespaces"),
            (
                "allow: [{hosts: [], ports: [443], methods: [GET], namespaces: [a]}]",
                "allow[0].hosts",
            ),
            (
                "allow: [{hosts: ['a*b'], ports: [443], methods: [GET], namespaces: [a]}]",
                "allow[0].hosts",
            ),
            (
                "allow: [{hosts: ['https://a.b'], ports: [443], methods: [GET], namespaces: [a]}]",
                "allow[0].hosts",
            ),
            (
                "allow: [{hosts: [a.b], ports: [70000], methods: [GET], namespaces: [a]}]",
                "",
            ),
            (
                "allow: [{hosts: [a.b], ports: [0], methods: [GET], namespaces: [a]}]",
                "allow[0].ports",
            ),
            (
                "allow: [{hosts: [a.b], ports: [443], methods: [get], namespaces: [a]}]",
                "allow[0].methods",
            ),
            (
                "allow: [{hosts: [a.b], ports: [443], methods: [GET], namespaces: ['']}]",
                "allow[0].namespaces",
            ),
            ("allow: [", ""),
        ] {
            let Err(error) = Rules::parse(text) else {
                panic!("accepted: {text}")
            };
            assert!(error.to_string().contains(part), "{text}: {error}");
        }
    }
}
