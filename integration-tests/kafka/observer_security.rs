//! Encryption, credentials and permissions: what works, and what the error says where it does not.

use std::time::Duration;

use lagvalve::id::{GroupId, Topic};
use lagvalve::kafka::{Connection, Observer};
use lagvalve::lag::{GroupAdmin as _, OffsetSource as _, ReadFault, SourceError};
use tokio::time::Instant;

use crate::support::watching::{ends, lags, partitions, poll_until, watch};
use crate::support::{Cluster, ClusterOptions, Kafka, Stop, Test, TestResult, admin, commit, create_topic, produce};

pub(crate) fn tests() -> Vec<Test> {
    crate::tests![tls_works_and_its_mistakes_are_said_in_words, missing_acls_are_named_one_by_one]
}

async fn tls_works_and_its_mistakes_are_said_in_words(kafka: &Kafka) -> TestResult {
    let cluster = kafka.own_cluster(&ClusterOptions { tls: true, ..ClusterOptions::default() }).await?;
    let ca = cluster.certificates().expect("a cluster with TLS").ca.display().to_string();
    create_topic(&admin(&cluster.bootstrap())?, "orders", 1, &[]).await?;

    let mut good = Connection::new(&cluster.tls_bootstrap());
    good.set("security.protocol", "SSL").set("ssl.ca.location", &ca);
    let observer = Observer::connect(&good).await?;
    assert_eq!(ends(&observer.poll(&watch(&["orders"], &[])).await?, "orders")?, [0]);
    good.check()?;
    good.client_config().create::<rdkafka::consumer::BaseConsumer>()?;

    let mut no_ca = good.clone();
    no_ca.properties.remove("ssl.ca.location");
    let mut wrong_port = good.clone();
    wrong_port.bootstrap_servers = vec![cluster.bootstrap()];
    let table = [
        ("plaintext to a TLS port", Connection::new(&cluster.tls_bootstrap()), "the port speaks TLS"),
        ("TLS to a plaintext port", wrong_port, "the port speaks plaintext"),
        ("TLS without the CA", no_ca, "ssl.ca.location"),
    ];
    for (case, connection, words) in table {
        let said = failure(&connection).await;
        assert!(said.contains(words) && said.contains(&connection.bootstrap()), "{case}: {said}");
    }
    Ok(())
}

async fn missing_acls_are_named_one_by_one(kafka: &Kafka) -> TestResult {
    let users = vec![("watcher".to_owned(), "watcher-secret".to_owned())];
    let cluster = kafka.own_cluster(&ClusterOptions { users, ..ClusterOptions::default() }).await?;
    let super_user = cluster.bootstrap();
    create_topic(&admin(&super_user)?, "orders", 1, &[]).await?;
    produce(&super_user, "orders", 0..1, 5).await?;
    commit(&super_user, "billing", "orders", &[(0, 2)]).await?;

    let said = failure(&Connection::new(&cluster.sasl_bootstrap())).await;
    assert!(said.contains("SASL"), "no credentials: {said}");
    let said = failure(&user(&cluster, "wrong")).await;
    assert!(said.contains("sasl.password") && !said.contains("wrong"), "wrong password: {said}");
    let mut needless = user(&cluster, "watcher-secret");
    needless.bootstrap_servers = vec![super_user.clone()];
    let said = failure(&needless).await;
    assert!(said.contains("no SASL"), "SASL where there is none: {said}");

    let observer = Observer::connect(&user(&cluster, "watcher-secret")).await?;
    let (watch, group) = (watch(&["orders"], &["billing"]), GroupId::from("billing"));
    let snapshot = observer.poll(&watch).await?;
    let denied = snapshot.groups[0].commits.as_ref().unwrap_err();
    assert_eq!(denied.fault, ReadFault::Unauthorized);
    assert!(denied.detail.contains("grant DESCRIBE on GROUP billing"), "{denied}");
    let denied = partitions(&snapshot, "orders").unwrap_err();
    assert_eq!(denied.fault, ReadFault::Unauthorized, "{denied}");
    assert!(denied.detail.contains("grant DESCRIBE on TOPIC orders"), "{denied}");
    let denied = observer.describe(std::slice::from_ref(&group)).await?.remove(0).unwrap_err();
    assert!(denied.detail.contains("grant DESCRIBE on GROUP billing"), "{denied}");

    grant(&cluster, &["--operation", "Describe", "--topic", "orders"]).await?;
    let seen = |snapshot: &lagvalve::lag::Snapshot| ends(snapshot, "orders").is_ok_and(|ends| ends == [5]);
    poll_until(&observer, &watch, Duration::from_secs(10), seen).await?;
    grant(&cluster, &["--operation", "Describe", "--group", "billing"]).await?;
    let seen =
        |snapshot: &lagvalve::lag::Snapshot| lags(snapshot, "billing", "orders").is_ok_and(|lags| lags == [Ok(3)]);
    let snapshot = poll_until(&observer, &watch, Duration::from_secs(10), seen).await?;
    assert_eq!(snapshot.topics[0].retention, None, "settings need an ACL of their own, and nothing fails without");
    observer.describe(&[group]).await?.remove(0)?;

    let info = observer.topic_info(&Topic::from("orders")).await?;
    let why = info.settings_error.expect("no ACL for settings").detail;
    assert!(info.retention_ms.is_none() && why.contains("DESCRIBE_CONFIGS on TOPIC orders"), "{why}");
    Ok(())
}

fn user(cluster: &Cluster, password: &str) -> Connection {
    let mut connection = Connection::new(&cluster.sasl_bootstrap());
    connection.set("security.protocol", "SASL_PLAINTEXT").set("sasl.mechanism", "PLAIN");
    connection.set("sasl.username", "watcher").set("sasl.password", password);
    connection
}

/// What connecting says, within the ten seconds that it may take.
async fn failure(connection: &Connection) -> String {
    let begin = Instant::now();
    let error = Observer::connect(connection).await.expect_err("a connection that cannot work");
    assert!(begin.elapsed() < Duration::from_secs(10), "{:?}", begin.elapsed());
    assert!(matches!(error, SourceError::Unreachable { .. } | SourceError::Refused(_)), "{error:?}");
    error.to_string()
}

/// By Kafka's own tool: the client that the observer uses sends ACLs that brokers refuse.
pub(crate) async fn grant(cluster: &Cluster, what: &[&str]) -> Result<(), Stop> {
    let class = cluster.jars().acl_command()?;
    let bootstrap = cluster.bootstrap();
    let fixed = ["--bootstrap-server", &bootstrap, "--add", "--allow-principal", "User:watcher"];
    let arguments: Vec<String> = fixed.iter().chain(what).map(|text| (*text).to_owned()).collect();
    let jars = cluster.jars().clone();
    tokio::task::spawn_blocking(move || jars.output(class, arguments)).await?.map(drop).map_err(Stop::Failed)
}
