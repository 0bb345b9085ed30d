//! Where an HTTP or SQL step may connect to: a name is resolved once, every address is checked, and the caller
//! connects to one of the checked addresses. Not which hosts a namespace may call: that is the egress policy.

mod addresses;

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::time::timeout;

use super::egress::Rules;
use crate::engine::{ErrorKind, StepError};

/// Names that mean this machine, this network or this cluster, whatever they resolve to.
const LOCAL_SUFFIXES: &[&str] = &["localhost", "local", "internal", "svc"];

/// One address has so long to answer; then the next is tried.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Resolves `host` (a name, or an address without brackets), checks every answer, and connects to the first that
/// answers.
///
/// Errors: kind Refused with `AddressBlocked` or `HostBlocked`; kind Connect with `ResolveFailed`, `ConnectFailed`.
pub(super) async fn connect(rules: &Rules, host: &str, port: u16) -> Result<TcpStream, StepError> {
    let addresses = resolve(rules, host, port).await?;
    connect_to(&addresses, host, port).await
}

/// The addresses of `host`, all of them allowed. Literals take the same path.
pub(super) async fn resolve(rules: &Rules, host: &str, port: u16) -> Result<Vec<SocketAddr>, StepError> {
    let addresses: Vec<SocketAddr> = match host.parse::<IpAddr>() {
        Ok(literal) => vec![SocketAddr::new(literal, port)],
        Err(_) => tokio::net::lookup_host((host, port))
            .await
            .map_err(|_| {
                StepError::new(
                    ErrorKind::Connect,
                    "ResolveFailed",
                    format!("{host} cannot be resolved"),
                )
            })?
            .collect(),
    };
    if addresses.is_empty() {
        return Err(StepError::new(
            ErrorKind::Connect,
            "ResolveFailed",
            format!("{host} has no address"),
        ));
    }
    for address in &addresses {
        check(rules, host, address.ip())?;
    }
    Ok(addresses)
}

/// Tries the addresses in order. They must come from [`resolve`].
pub(super) async fn connect_to(addresses: &[SocketAddr], host: &str, port: u16) -> Result<TcpStream, StepError> {
    let mut problem = String::from("no address");
    for address in addresses {
        match timeout(CONNECT_TIMEOUT, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => {
                // Requests are small and each waits for its answer: nothing is gained by collecting bytes.
                let _ = stream.set_nodelay(true);
                return Ok(stream);
            }
            Ok(Err(error)) => problem = error.kind().to_string(),
            Err(_) => problem = "no answer".to_owned(),
        }
    }
    Err(StepError::new(
        ErrorKind::Connect,
        "ConnectFailed",
        format!("cannot connect to {host} port {port}: {problem}"),
    ))
}

/// Whether one answer for `host` may be connected to.
///
/// `allowAddresses` un-blocks an address, and with it a local name: a name is only a way to an address, so a name
/// whose every address is explicitly allowed is no way around anything.
fn check(rules: &Rules, host: &str, address: IpAddr) -> Result<(), StepError> {
    if rules.allows_address(address) {
        return Ok(());
    }
    if is_local_name(host) {
        let message =
            format!("{host} is a local name; the egress policy's allowAddresses must list its address to allow it");
        return Err(StepError::new(ErrorKind::Refused, "HostBlocked", message));
    }
    let blocked = |address| rules.blocks_address(address);
    if blocked(address) || addresses::embedded(address).is_some_and(blocked) {
        let message = format!("{host} is at {address}, which is in the egress policy's blockAddresses");
        return Err(StepError::new(ErrorKind::Refused, "AddressBlocked", message));
    }
    match addresses::special_purpose(address) {
        Some(block) => {
            let message = format!(
                "{host} is at {address} ({block}), which is not a public address; the egress policy's allowAddresses \
                 must list it to allow it"
            );
            Err(StepError::new(ErrorKind::Refused, "AddressBlocked", message))
        }
        None => Ok(()),
    }
}

fn is_local_name(host: &str) -> bool {
    let host = host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase();
    LOCAL_SUFFIXES.iter().any(|suffix| {
        host.strip_suffix(suffix)
            .is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(addresses: &str) -> Rules {
        Rules::parse(&format!("allow: []\nallowAddresses: [{addresses}]")).unwrap()
    }

    fn code(rules: &Rules, host: &str, address: &str) -> String {
        check(rules, host, address.parse().unwrap())
            .err()
            .map(|error| error.code)
            .unwrap_or_default()
    }

    #[test]
    fn local_names_are_blocked_whatever_they_resolve_to() {
        for host in [
            "localhost",
            "LOCALHOST",
            "localhost.",
            "a.localhost",
            "printer.local",
            "db.shop.svc",
            "db.shop.svc.cluster.local",
            "metadata.google.internal",
            "metadata.google.internal.",
        ] {
            assert_eq!(code(&rules(""), host, "8.8.8.8"), "HostBlocked", "{host}");
        }
        for host in [
            "notlocalhost",
            "local.example.com",
            "svc.example.com",
            "internal.example.com",
            "mylocal",
        ] {
            assert_eq!(code(&rules(""), host, "8.8.8.8"), "", "{host}");
        }
    }

    #[test]
    fn allowed_addresses_unblock_only_themselves() {
        let rules = rules("127.0.0.0/8, '::1/128'");
        assert_eq!(code(&rules, "127.0.0.1", "127.0.0.1"), "");
        assert_eq!(code(&rules, "x.example.com", "::ffff:127.0.0.1"), "");
        assert_eq!(code(&rules, "localhost", "::1"), "");
        assert_eq!(code(&rules, "localhost", "10.0.0.1"), "HostBlocked");
        assert_eq!(code(&rules, "x.example.com", "10.0.0.1"), "AddressBlocked");
        assert_eq!(code(&rules, "x.example.com", "169.254.169.254"), "AddressBlocked");
    }

    #[test]
    fn ranges_that_the_policy_blocks_are_blocked_in_every_spelling_and_allowed_ones_win() {
        let policy = "allow: []\nallowAddresses: [9.9.9.9/32]\nblockAddresses: [9.0.0.0/8, '2a00:1::/32']";
        let rules = Rules::parse(policy).unwrap();
        for address in [
            "9.1.2.3",
            "9.255.255.255",
            "::ffff:9.1.2.3",
            "64:ff9b::9.1.2.3",
            "::9.1.2.3",
            "2a00:1::7",
        ] {
            assert_eq!(code(&rules, "api.example.com", address), "AddressBlocked", "{address}");
        }
        for address in ["9.9.9.9", "::ffff:9.9.9.9", "8.8.8.8", "64:ff9b::8.8.8.8", "2a00:2::7"] {
            assert_eq!(code(&rules, "api.example.com", address), "", "{address}");
        }
        // Nothing is opened by it.
        assert_eq!(code(&rules, "api.example.com", "10.0.0.1"), "AddressBlocked");
        let error = check(&rules, "api.example.com", "9.1.2.3".parse().unwrap()).unwrap_err();
        assert!(error.message.contains("blockAddresses"), "{}", error.message);
    }

    #[tokio::test]
    async fn literal_takes_the_same_path_as_a_name() {
        for literal in ["127.0.0.1", "::1", "::ffff:10.0.0.1", "169.254.169.254"] {
            assert_eq!(
                resolve(&rules(""), literal, 80).await.unwrap_err().code,
                "AddressBlocked",
                "{literal}"
            );
        }
        assert_eq!(resolve(&rules("127.0.0.0/8"), "127.0.0.1", 80).await.unwrap().len(), 1);
    }

    /// The resolver of the machine reads forms that are no address to us; what it answers is checked all the same.
    #[tokio::test]
    async fn odd_spellings_of_loopback_do_not_pass() {
        for host in ["0x7f.1", "127.1", "2130706433", "017700000001", "localhost"] {
            assert!(resolve(&rules(""), host, 80).await.is_err(), "{host}");
        }
    }
}
