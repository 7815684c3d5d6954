//! Who may read: this machine always, others with the token or when reads are open.

use std::net::IpAddr;
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::problem::Problem;
use super::server::{Peer, ServerOptions};

/// Lets a request through or answers 401 or 403.
pub(super) async fn guard(State(options): State<Arc<ServerOptions>>, request: Request, next: Next) -> Response {
    let peer = request.extensions().get::<Peer>().map(|peer| peer.0.ip().to_canonical());
    let shown = request.headers().get(header::AUTHORIZATION).and_then(bearer);
    match verdict(&options, peer, shown) {
        Verdict::Pass => next.run(request).await,
        Verdict::TokenNeeded => {
            let detail = "calls from other machines need the header Authorization: Bearer TOKEN";
            let mut refusal = Problem::new(StatusCode::UNAUTHORIZED, "Token needed", detail).into_response();
            refusal.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
            refusal
        }
        Verdict::Closed => {
            let detail =
                "calls from other machines are not answered: set [http] control_token_file, or open_reads = true";
            Problem::new(StatusCode::FORBIDDEN, "Loopback only", detail).into_response()
        }
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    Pass,
    TokenNeeded,
    Closed,
}

fn verdict(options: &ServerOptions, peer: Option<IpAddr>, shown: Option<&str>) -> Verdict {
    if options.open_reads || peer.is_some_and(|peer| peer.is_loopback()) {
        return Verdict::Pass;
    }
    match (&options.token, shown) {
        (Some(token), Some(shown)) if same(token.as_bytes(), shown.as_bytes()) => Verdict::Pass,
        (Some(_), _) => Verdict::TokenNeeded,
        (None, _) => Verdict::Closed,
    }
}

fn bearer(value: &HeaderValue) -> Option<&str> {
    let (scheme, token) = value.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

/// Takes as long for a nearly right token as for a wrong one.
fn same(a: &[u8], b: &[u8]) -> bool {
    a.len() == b.len() && a.iter().zip(b).fold(0, |differs, (x, y)| differs | (x ^ y)) == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_machines_need_the_token_or_open_reads() {
        let mut options = ServerOptions::new("127.0.0.1:0".parse().unwrap());
        let here = Some("127.0.0.1".parse().unwrap());
        let there = Some("10.0.0.7".parse().unwrap());
        assert_eq!(verdict(&options, here, None), Verdict::Pass);
        assert_eq!(verdict(&options, there, None), Verdict::Closed);
        assert_eq!(verdict(&options, None, None), Verdict::Closed);
        options.token = Some("t0ken".to_owned());
        assert_eq!(verdict(&options, there, None), Verdict::TokenNeeded);
        assert_eq!(verdict(&options, there, Some("t0keN")), Verdict::TokenNeeded);
        assert_eq!(verdict(&options, there, Some("t0ken")), Verdict::Pass);
        assert_eq!(verdict(&options, here, None), Verdict::Pass);
        options.token = None;
        options.open_reads = true;
        assert_eq!(verdict(&options, there, None), Verdict::Pass);
    }
}
