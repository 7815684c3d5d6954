//! After a failure to connect: asks each address what it is, so that the error can say what to change.

use std::fmt::Write as _;
use std::time::Duration;

use futures::future::join_all;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::connection::Connection;
use super::fault::{PLAINTEXT_EXPECTED, TLS_EXPECTED};

/// What an address turned out to be.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Found {
    /// A Kafka broker that answers in plaintext.
    Plaintext,
    /// Something that answers a plaintext request with a TLS record.
    Tls,
    /// It took the connection and closed it, or kept silent.
    Mute,
    /// It answered, but not as Kafka does.
    Foreign,
    /// No connection.
    Closed(String),
}

/// One clause an address, separated by `; `: what it is and what to change. At most [`PATIENCE`] long.
pub(super) async fn diagnose(connection: &Connection, said: &str) -> String {
    let probes = connection.bootstrap_servers.iter().map(|address| async move { (address, probe(address).await) });
    let mut text = String::new();
    for (address, found) in join_all(probes).await {
        let separator = if text.is_empty() { "" } else { "; " };
        let _ = write!(text, "{separator}{address}: {}", verdict(connection, &found, said));
    }
    text
}

fn verdict(connection: &Connection, found: &Found, said: &str) -> String {
    match found {
        Found::Closed(why) => why.clone(),
        Found::Tls if !connection.uses_tls() => TLS_EXPECTED.to_owned(),
        Found::Plaintext if connection.uses_tls() => PLAINTEXT_EXPECTED.to_owned(),
        Found::Plaintext if !connection.uses_sasl() => {
            format!(
                "a broker answers, but refuses to go on; does this listener want SASL? (security.protocol) ({said})"
            )
        }
        Found::Foreign => "something that is not Kafka answers; check the port".to_owned(),
        Found::Mute if !connection.uses_tls() => "takes connections but says nothing; check the port".to_owned(),
        Found::Plaintext | Found::Tls | Found::Mute => said.to_owned(),
    }
}

/// Connects and asks for the API versions in plaintext.
async fn probe(address: &str) -> Found {
    let mut stream = match timeout(PATIENCE / 2, TcpStream::connect(address)).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => return Found::Closed(words(&error)),
        Err(_) => return Found::Closed("no answer; is a firewall in between?".to_owned()),
    };
    let mut answer = Vec::new();
    let ask = async {
        stream.write_all(&API_VERSIONS_REQUEST).await?;
        // A TLS alert is only seven bytes long: what came before the end, an error or the deadline is what counts.
        while answer.len() < 8 && stream.read_buf(&mut answer).await? > 0 {}
        Ok::<(), std::io::Error>(())
    };
    let _ = timeout(PATIENCE / 2, ask).await;
    classify(&answer)
}

/// The first bytes of an answer: Kafka sends a length and our correlation id, TLS a record header.
fn classify(answer: &[u8]) -> Found {
    match answer {
        [] => Found::Mute,
        [TLS_ALERT | TLS_HANDSHAKE, 3, ..] => Found::Tls,
        [_, _, _, _, id @ ..] if id.starts_with(&CORRELATION_ID) => Found::Plaintext,
        _ => Found::Foreign,
    }
}

fn words(error: &std::io::Error) -> String {
    match error.kind() {
        std::io::ErrorKind::ConnectionRefused => "connection refused: no broker listens there".to_owned(),
        std::io::ErrorKind::InvalidInput => "is not an address: write host:port".to_owned(),
        _ => error.to_string(),
    }
}

/// How long all probes together may take: guessed, far above a round trip round the world.
pub(super) const PATIENCE: Duration = Duration::from_secs(2);
const TLS_ALERT: u8 = 0x15;
const TLS_HANDSHAKE: u8 = 0x16;
const CORRELATION_ID: [u8; 4] = *b"lagv";
/// ApiVersions, version 0, correlation id "lagv", no client id: the one request that every listener answers.
const API_VERSIONS_REQUEST: [u8; 14] = [0, 0, 0, 10, 0, 18, 0, 0, b'l', b'a', b'g', b'v', 0xff, 0xff];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_told_apart_by_their_first_bytes() {
        assert_eq!(classify(&[0x15, 3, 3, 0, 2, 2, 80]), Found::Tls);
        assert_eq!(classify(&[0, 0, 1, 40, b'l', b'a', b'g', b'v', 0, 0]), Found::Plaintext);
        assert_eq!(classify(b"HTTP/1.1 400"), Found::Foreign);
        assert_eq!(classify(b""), Found::Mute);
    }

    #[test]
    fn the_verdict_depends_on_what_was_asked_for() {
        let plain = Connection::new("a:1");
        let mut tls = plain.clone();
        tls.set("security.protocol", "SSL");
        assert_eq!(verdict(&plain, &Found::Tls, ""), TLS_EXPECTED);
        assert_eq!(verdict(&tls, &Found::Plaintext, ""), PLAINTEXT_EXPECTED);
        assert_eq!(verdict(&tls, &Found::Tls, "UnknownIssuer"), "UnknownIssuer");
        assert!(verdict(&plain, &Found::Plaintext, "closed").contains("SASL"));
        assert!(verdict(&plain, &Found::Foreign, "").contains("not Kafka"));
    }
}
