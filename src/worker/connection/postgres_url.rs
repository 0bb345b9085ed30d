//! The URL of a postgres Connection: options by an allow-list, one host, verified TLS unless it says otherwise.
//! Not connecting. No message quotes the URL: it holds a password.

use std::sync::Arc;

use url::Url;

use super::spec::{PostgresConnection, trimmed};
use crate::worker::secret::Secret;
use crate::worker::tls;

/// Reads `postgres://user:password@host:port/database?options`. Errors are sentences for users.
pub(super) fn parse(text: &Secret<Vec<u8>>) -> Result<PostgresConnection, String> {
    let text = std::str::from_utf8(trimmed(text.expose())).map_err(|_| "the database URL is not UTF-8".to_owned())?;
    let url =
        Url::parse(text).map_err(|_| "the database URL is not a URL; write postgres://user:password@host/database")?;
    if !matches!(url.scheme(), "postgres" | "postgresql") {
        return Err("the database URL must begin with postgres:// or postgresql://".to_owned());
    }
    let host = url.host_str().unwrap_or_default();
    let host = host
        .strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'))
        .unwrap_or(host);
    let host = decode(host)?;
    if host.is_empty() || host.contains(['/', ',', '\0']) {
        return Err("the database URL must name one host to reach by TCP".to_owned());
    }
    let user = decode(url.username())?;
    if user.is_empty() {
        return Err("the database URL must name a user".to_owned());
    }
    let password = url.password().map(decode).transpose()?.map(Secret::new);
    let database = decode(url.path().trim_start_matches('/'))?;
    let mut application_name = "everstep".to_owned();
    let mut verify = true;
    for (name, value) in url.query_pairs() {
        match (&*name, &*value) {
            ("sslmode", "verify-full") => verify = true,
            ("sslmode", "disable") => verify = false,
            ("sslmode", _) => {
                return Err("sslmode in the database URL must be verify-full (the default) or disable".to_owned());
            }
            ("application_name", value) => application_name = value.to_owned(),
            // What it asks for is so anyway: a step's timeout bounds the connect.
            ("connect_timeout", _) => {}
            (name, _) => {
                return Err(format!(
                    "the option {name:?} of the database URL is not supported; sslmode, application_name and \
                     connect_timeout are"
                ));
            }
        }
    }
    let tls = if verify {
        Some(Arc::new(tls::client_config(None)?))
    } else {
        None
    };
    Ok(PostgresConnection {
        host,
        port: url.port().unwrap_or(5432),
        database: if database.is_empty() { user.clone() } else { database },
        user,
        password,
        application_name,
        tls,
    })
}

fn decode(text: &str) -> Result<String, String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        match (first, tail) {
            (b'%', [high, low, tail @ ..]) => {
                let digit = |byte: u8| (byte as char).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
                let (Some(high), Some(low)) = (digit(*high), digit(*low)) else {
                    return Err("the database URL has a '%' that is no percent-encoding; write it as %25".to_owned());
                };
                bytes.push(high << 4 | low);
                rest = tail;
            }
            _ => {
                bytes.push(*first);
                rest = tail;
            }
        }
    }
    String::from_utf8(bytes).map_err(|_| "the database URL is not UTF-8 after percent-decoding".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(text: &str) -> Result<PostgresConnection, String> {
        parse(&Secret::new(text.as_bytes().to_vec()))
    }

    #[test]
    fn parts_are_decoded_and_defaults_filled_in() {
        let Ok(parsed) = url("postgres://sh%40p:p%3A%2Fss@db.example.com/orders?application_name=x\n") else {
            panic!()
        };
        assert_eq!((parsed.host.as_str(), parsed.port), ("db.example.com", 5432));
        assert_eq!((parsed.user.as_str(), parsed.database.as_str()), ("sh@p", "orders"));
        assert_eq!(parsed.password.unwrap().expose(), "p:/ss");
        assert_eq!(parsed.application_name, "x");
        assert!(parsed.tls.is_some());
        let Ok(parsed) = url("postgresql://u@[::1]:6000?sslmode=disable") else {
            panic!()
        };
        assert_eq!(
            (parsed.host.as_str(), parsed.port, parsed.database.as_str()),
            ("::1", 6000, "u")
        );
        assert!(parsed.tls.is_none() && parsed.password.is_none());
    }

    #[test]
    fn everything_not_on_the_list_is_refused_without_quoting_the_url() {
        for text in [
            "nonsense hunter2",
            "mysql://u:hunter2@h/d",
            "postgres://:hunter2@h/d",
            "postgres://u:hunter2@/d",
            "postgres://u:hunter2@%2Fvar%2Frun/d",
            "postgres://u:hunter2@a,b/d",
            "postgres://u:hunter2@h/d?sslmode=require",
            "postgres://u:hunter2@h/d?sslmode=prefer",
            "postgres://u:hunter2@h/d?options=-crole%3Dx",
            "postgres://u:hunter2@h/d?host=/tmp",
            "postgres://u:hunter2@h/d?hostaddr=127.0.0.1",
            "postgres://u:hunter2@h/d?sslrootcert=/etc/passwd",
            "postgres://u:hunter2%zz@h/d",
        ] {
            let Err(problem) = url(text) else {
                panic!("accepted {text}")
            };
            assert!(!problem.contains("hunter2"), "{problem}");
        }
    }
}
