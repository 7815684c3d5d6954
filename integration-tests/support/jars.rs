//! Apache Kafka's jars, fetched by Maven: a broker and its command line without Docker.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::env;
use super::harness::Stop;

/// One unpacked version.
#[derive(Clone, Debug)]
pub struct Jars {
    directory: PathBuf,
    version: String,
}

impl Jars {
    /// The jars of `LAGVALVE_KAFKA_VERSION`, from the build directory or through Maven (16 s the first time, measured).
    pub fn get() -> Result<Self, String> {
        let version = env("LAGVALVE_KAFKA_VERSION").unwrap_or_else(|| NEWEST.to_owned());
        let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().ok_or("the build directory has no parent")?;
        let directory = target.join("kafka").join(&version);
        for program in ["java", "mvn"] {
            if program == "mvn" && directory.is_dir() {
                continue;
            }
            let found = Command::new(program).arg("-version").stdout(Stdio::null()).stderr(Stdio::null()).status();
            found.map_err(|error| format!("{program} is not there ({error}); install Java 17 and Maven"))?;
        }
        let jars = Self { directory, version };
        if !jars.directory.is_dir() {
            jars.fetch()?;
        }
        Ok(jars)
    }

    /// The version.
    pub fn version(&self) -> &str {
        &self.version
    }

    /// Whether it is at least `major.minor`.
    pub fn at_least(&self, major: u32, minor: u32) -> bool {
        let mut parts = self.version.split('.').map(|part| part.parse::<u32>().unwrap_or(0));
        (parts.next().unwrap_or(0), parts.next().unwrap_or(0)) >= (major, minor)
    }

    /// The class of `kafka-acls.sh`: it moved with Kafka 4.0, and an older release's does not run on newer clients.
    pub fn acl_command(&self) -> Result<&'static str, Stop> {
        if self.has_own_tools() {
            Ok(if self.at_least(4, 0) { "org.apache.kafka.tools.AclCommand" } else { "kafka.admin.AclCommand" })
        } else {
            Err(Stop::Ignored(format!("needs kafka-acls, and no command line of {} is published", self.version)))
        }
    }

    /// Not every release has published its command line: 4.3.1 is the newest that has.
    fn has_own_tools(&self) -> bool {
        !self.at_least(4, 4)
    }

    /// A command that runs `class` with a small heap.
    pub fn tool<I: IntoIterator<Item: AsRef<OsStr>>>(&self, class: &str, arguments: I) -> Command {
        let mut command = self.java(&["-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"], "warn");
        command.arg(class).args(arguments);
        command
    }

    /// The output of `class`.
    pub fn output<I: IntoIterator<Item: AsRef<OsStr>>>(&self, class: &str, arguments: I) -> Result<String, String> {
        let output = self.tool(class, arguments).output().map_err(|error| format!("java: {error}"))?;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        if output.status.success() {
            Ok(text(&output.stdout))
        } else {
            Err(text(&output.stdout) + &text(&output.stderr))
        }
    }

    /// A command that runs a broker.
    pub fn broker(&self, properties: &Path) -> Command {
        let mut command = self.java(&["-Xms128m", "-Xmx512m", "-XX:+UseG1GC", "-XX:+ExitOnOutOfMemoryError"], "info");
        command.arg("kafka.Kafka").arg(properties);
        command
    }

    fn java(&self, options: &[&str], level: &str) -> Command {
        let mut command = Command::new("java");
        command.args(options).args(["-Xshare:auto", "-Djava.awt.headless=true"]);
        command.arg(format!("-Dlagvalve.level={level}"));
        let log = if self.at_least(4, 0) { "log4j2.configurationFile" } else { "log4j.configuration" };
        command.arg(format!("-D{log}=file:{}", self.directory.join("log.properties").display()));
        command.arg("-cp").arg(self.directory.join("libs").join("*"));
        command
    }

    /// Into a directory of this process first, so that two test binaries do not disturb each other.
    fn fetch(&self) -> Result<(), String> {
        let name = |error: std::io::Error| format!("{}: {error}", self.directory.display());
        let parent = self.directory.parent().ok_or("no parent directory")?;
        let making = parent.join(format!(".{}-{}", self.version, std::process::id()));
        fs::create_dir_all(making.join("libs")).map_err(name)?;
        fs::write(making.join("pom.xml"), self.pom()).map_err(name)?;
        let log = if self.at_least(4, 0) { LOG4J2 } else { LOG4J1 };
        fs::write(making.join("log.properties"), log).map_err(name)?;
        let output = Command::new("mvn")
            .args(["-q", "-B", "-ntp", "-f"])
            .arg(making.join("pom.xml"))
            .args([COPY, "-DincludeScope=runtime"])
            .arg(format!("-DoutputDirectory={}", making.join("libs").display()))
            .output()
            .map_err(|error| format!("mvn: {error}"))?;
        if !output.status.success() {
            let _ = fs::remove_dir_all(&making);
            let said = String::from_utf8_lossy(&output.stdout).lines().take(5).collect::<Vec<_>>().join(" ");
            return Err(format!("Maven could not fetch Kafka {}: {said}", self.version));
        }
        // Another process may have been faster; its directory is as good.
        if fs::rename(&making, &self.directory).is_err() {
            let _ = fs::remove_dir_all(&making);
        }
        if self.directory.is_dir() { Ok(()) } else { Err(format!("{} is not there", self.directory.display())) }
    }

    fn pom(&self) -> String {
        let dependency = |group: &str, artifact: &str, version: &str, more: &str| {
            let id =
                format!("<groupId>{group}</groupId><artifactId>{artifact}</artifactId><version>{version}</version>");
            format!("<dependency>{id}{more}</dependency>\n")
        };
        let without = |artifact: &str| {
            format!("<exclusion><groupId>org.apache.kafka</groupId><artifactId>{artifact}</artifactId></exclusion>")
        };
        let less = format!("<exclusions>{}{}</exclusions>", without("connect-runtime"), without("connect-transforms"));
        let tools = if self.has_own_tools() { &self.version } else { NEWEST };
        let mut dependencies = dependency("org.apache.kafka", "kafka_2.13", &self.version, "");
        dependencies += &dependency("org.apache.kafka", "kafka-tools", tools, &less);
        if self.at_least(4, 0) {
            for artifact in ["log4j-slf4j-impl", "log4j-core", "log4j-1.2-api"] {
                dependencies += &dependency("org.apache.logging.log4j", artifact, "2.25.2", "");
            }
        } else {
            dependencies += &dependency("org.slf4j", "slf4j-reload4j", "1.7.36", "");
        }
        format!(
            "<project xmlns=\"http://maven.apache.org/POM/4.0.0\"><modelVersion>4.0.0</modelVersion>\n\
             <groupId>lagvalve</groupId><artifactId>kafka</artifactId><version>1</version><packaging>pom</packaging>\n\
             <dependencies>\n{dependencies}</dependencies></project>\n"
        )
    }
}

/// The newest release whose command line is published too.
pub const NEWEST: &str = "4.3.1";
const COPY: &str = "org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy-dependencies";
const LOG4J2: &str = "status=error\nappender.c.type=Console\nappender.c.name=C\nappender.c.layout.type=PatternLayout\n\
    appender.c.layout.pattern=[%d] %p %m (%c)%n\nappender.c.target=SYSTEM_ERR\n\
    rootLogger.level=${sys:lagvalve.level}\nrootLogger.appenderRef.c.ref=C\n";
const LOG4J1: &str = "log4j.rootLogger=${lagvalve.level},C\nlog4j.appender.C=org.apache.log4j.ConsoleAppender\n\
    log4j.appender.C.Target=System.err\nlog4j.appender.C.layout=org.apache.log4j.PatternLayout\n\
    log4j.appender.C.layout.ConversionPattern=[%d] %p %m (%c)%n\n";
