//! Prometheus' own checker accepts the page. Without promtool the test counts as ignored, it does not pass.

#[path = "support/records.rs"]
mod records;

use std::io::Write;
use std::process::{Command, ExitCode, Stdio};

use libtest_mimic::{Arguments, Failed, Trial};

fn main() -> ExitCode {
    let installed = Command::new("promtool").arg("--version").output().is_ok();
    let trial = Trial::test("promtool_accepts_the_page", accepts).with_ignored_flag(!installed);
    libtest_mimic::run(&Arguments::from_args(), vec![trial]).exit_code()
}

fn accepts() -> Result<(), Failed> {
    let mut promtool = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    let page = lagvalve::telemetry::render(&records::Fixed::full());
    promtool.stdin.take().ok_or("no standard input")?.write_all(page.as_bytes())?;
    let output = promtool.wait_with_output()?;
    let said = [output.stdout, output.stderr].concat();
    // It exits with 0 on mere advice.
    if output.status.success() && said.is_empty() { Ok(()) } else { Err(String::from_utf8_lossy(&said).into()) }
}
