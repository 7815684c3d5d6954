//! A certificate authority and a server certificate, made by the `openssl` command.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Where the files are.
#[derive(Clone, Debug)]
pub struct Certificates {
    /// The authority's certificate.
    pub ca: PathBuf,
    /// Key and certificate of the server; they serve a client too.
    pub server: PathBuf,
}

/// Makes both in `directory`.
pub fn make(directory: &Path) -> Result<Certificates, String> {
    fs::create_dir_all(directory).map_err(|error| error.to_string())?;
    let extensions = "subjectAltName=DNS:localhost,IP:127.0.0.1\nbasicConstraints=CA:FALSE\n\
        extendedKeyUsage=serverAuth,clientAuth\n";
    fs::write(directory.join("extensions"), extensions).map_err(|error| error.to_string())?;
    let steps: [&[&str]; 3] = [
        &[
            "req",
            "-x509",
            "-newkey",
            "rsa:2048",
            "-nodes",
            "-days",
            "30",
            "-subj",
            "/CN=lagvalve tests",
            "-keyout",
            "ca.key",
            "-out",
            "ca.pem",
            "-addext",
            "basicConstraints=critical,CA:TRUE",
            "-addext",
            "keyUsage=critical,keyCertSign,cRLSign",
        ],
        &[
            "req",
            "-newkey",
            "rsa:2048",
            "-nodes",
            "-subj",
            "/CN=localhost",
            "-keyout",
            "server.key",
            "-out",
            "server.csr",
        ],
        &[
            "x509",
            "-req",
            "-in",
            "server.csr",
            "-CA",
            "ca.pem",
            "-CAkey",
            "ca.key",
            "-CAcreateserial",
            "-days",
            "30",
            "-out",
            "server.crt",
            "-extfile",
            "extensions",
        ],
    ];
    for step in steps {
        let output = Command::new("openssl").args(step).current_dir(directory).output();
        let output = output.map_err(|error| format!("openssl is not there: {error}"))?;
        if !output.status.success() {
            return Err(format!("openssl {}: {}", step[0], String::from_utf8_lossy(&output.stderr)));
        }
    }
    let read = |name: &str| fs::read_to_string(directory.join(name)).map_err(|error| error.to_string());
    let both = read("server.key")? + &read("server.crt")?;
    fs::write(directory.join("server.pem"), both).map_err(|error| error.to_string())?;
    Ok(Certificates { ca: directory.join("ca.pem"), server: directory.join("server.pem") })
}
