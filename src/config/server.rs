//! `[http]` and `[state]`.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;

use super::load::Surroundings;
use super::raw::Section;

/// Where `lagvalve run` listens and who may read.
#[derive(Clone, PartialEq)]
pub struct HttpSettings {
    /// Address and port.
    pub listen: SocketAddr,
    /// Bearer token that callers from other machines show; may be missing. Secret.
    pub control_token: Option<String>,
    /// Whether callers from other machines may read without a token.
    pub open_reads: bool,
}

impl Default for HttpSettings {
    fn default() -> Self {
        Self { listen: DEFAULT_LISTEN, control_token: None, open_reads: false }
    }
}

impl fmt::Debug for HttpSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpSettings")
            .field("listen", &self.listen)
            .field("control_token", &self.control_token.as_ref().map(|_| "…"))
            .field("open_reads", &self.open_reads)
            .finish()
    }
}

/// What outlives the process.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StateSettings {
    /// Folder for journal files; without it nothing is written to disk.
    pub dir: Option<PathBuf>,
}

/// Reads `[http]`.
pub(super) fn read_http(http: &Section<'_, '_>, surroundings: &Surroundings<'_>) -> HttpSettings {
    let mut found = HttpSettings::default();
    if let Some(text) = http.text("listen") {
        match text.parse() {
            Ok(address) => found.listen = address,
            Err(_) => http.bad("listen", "must be address:port, for example \"127.0.0.1:5248\" or \"[::]:5248\""),
        }
    }
    found.control_token = surroundings.secret(http, "control_token_file", "control_token_env");
    found.open_reads = http.flag("open_reads").unwrap_or(false);
    let guarded = http.has("control_token_file") || http.has("control_token_env");
    if !found.listen.ip().is_loopback() && !guarded && !found.open_reads {
        http.report().warn(format!(
            "http: {} listens to other machines, but they are answered 403 except for /healthz and /readyz: set \
             control_token_file, or open_reads = true",
            found.listen
        ));
    }
    http.finish();
    found
}

/// Reads `[state]`.
pub(super) fn read_state(state: &Section<'_, '_>, surroundings: &Surroundings<'_>) -> StateSettings {
    let dir = state.text("dir").map(|dir| surroundings.dir.join(dir));
    if dir.as_ref().is_some_and(|dir| dir.exists() && !dir.is_dir()) {
        state.bad("dir", "is a file, not a folder");
    }
    state.finish();
    StateSettings { dir }
}

/// Loopback only; the port is L-A-G-V on a telephone keypad.
pub const DEFAULT_LISTEN: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 5248);
