//! What `lagvalve doctor` finds on a real cluster, and how it ends.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::Value;
use tokio::time::sleep;

use super::observer_security::grant;
use crate::program::{Launch, Output};
use crate::support::{ClusterOptions, Kafka, Stop, Test, TestResult, admin, commit, create_topic, produce};

pub(crate) fn tests() -> Vec<Test> {
    crate::tests![
        a_cluster_in_order_is_told_so,
        what_is_not_there_is_named,
        a_group_without_commits_is_a_problem,
        each_missing_permission_is_named,
        a_set_point_that_commits_cannot_hold_is_a_warning,
    ]
}

async fn a_cluster_in_order_is_told_so(kafka: &Kafka) -> TestResult {
    let (topic, group) = (kafka.name("orders"), kafka.name("billing"));
    kafka.create_topic(&topic, 2).await?;
    kafka.produce(&topic, 0..2, 30).await?;
    let _member = kafka.consume(&group, &topic, 50, "classic").await?;
    let run = doctor(kafka.bootstrap(), &topic, &format!("{group}:2s"), &["--watch", "0s"]).await?;
    run.exits(0);
    let found = findings(&run);
    assert_eq!(levels(&found, "problem") + levels(&found, "warning"), 0, "{run:#?}");
    says(&found, "ok", "1 broker");
    says(&found, "ok", "2 partitions; keeps records for");
    says(&found, "ok", "1 member");
    says(&found, "ok", "10 messages behind");
    Ok(())
}

async fn what_is_not_there_is_named(kafka: &Kafka) -> TestResult {
    let (topic, group) = (kafka.name("nowhere"), kafka.name("nobody"));
    let run = doctor(kafka.bootstrap(), &topic, &group, &[]).await?;
    run.exits(1);
    let found = findings(&run);
    assert_eq!(levels(&found, "problem"), 2, "{run:#?}");
    let named =
        |name: &str| found.iter().any(|finding| finding["subject"].as_str().is_some_and(|said| said.contains(name)));
    assert!(named(&topic) && named(&group), "{run:#?}");
    // Looking at it has not made it.
    doctor(kafka.bootstrap(), &topic, &group, &[]).await?.exits(1);
    Ok(())
}

async fn a_group_without_commits_is_a_problem(kafka: &Kafka) -> TestResult {
    let (topic, other, group) = (kafka.name("orders"), kafka.name("other"), kafka.name("billing"));
    kafka.create_topic(&topic, 1).await?;
    kafka.create_topic(&other, 1).await?;
    kafka.commit(&group, &other, &[(0, 0)]).await?;
    let run = doctor(kafka.bootstrap(), &topic, &group, &["--watch", "0s"]).await?;
    run.exits(1);
    says(&findings(&run), "problem", "has never committed on these topics");
    says(&findings(&run), "warning", "without members");
    Ok(())
}

async fn each_missing_permission_is_named(kafka: &Kafka) -> TestResult {
    let users = vec![("watcher".to_owned(), "watcher-secret".to_owned())];
    let cluster = kafka.own_cluster(&ClusterOptions { users, ..ClusterOptions::default() }).await?;
    let super_user = cluster.bootstrap();
    create_topic(&admin(&super_user)?, "orders", 1, &[]).await?;
    produce(&super_user, "orders", 0..1, 5).await?;
    commit(&super_user, "billing", "orders", &[(0, 2)]).await?;
    let login = [
        ["-X", "security.protocol=SASL_PLAINTEXT"],
        ["-X", "sasl.mechanism=PLAIN"],
        ["-X", "sasl.username=watcher"],
        ["-X", "sasl.password=watcher-secret"],
        ["--watch", "0s"],
    ];
    let address = cluster.sasl_bootstrap();
    let look = || doctor(&address, "orders", "billing", login.as_flattened());

    let blind = look().await?;
    blind.exits(1);
    says(&findings(&blind), "problem", "grant DESCRIBE on TOPIC orders");
    says(&findings(&blind), "problem", "grant DESCRIBE on GROUP billing");
    assert!(!format!("{blind:?}").contains("watcher-secret"), "{blind:#?}");
    // ACLs take a moment to reach the broker.
    grant(&cluster, &["--operation", "Describe", "--topic", "orders"]).await?;
    let run = until(&look, |run| !run.stdout.contains("TOPIC orders (--operation Describe ")).await?;
    says(&findings(&run), "problem", "grant DESCRIBE on GROUP billing");
    says(&findings(&run), "note", "grant DESCRIBE_CONFIGS on TOPIC orders");
    grant(&cluster, &["--operation", "Describe", "--group", "billing"]).await?;
    let run = until(&look, |run| run.code == Some(0)).await?;
    says(&findings(&run), "ok", "3 messages behind");
    grant(&cluster, &["--operation", "DescribeConfigs", "--topic", "orders"]).await?;
    let run = until(&look, |run| !run.stdout.contains("DESCRIBE_CONFIGS")).await?;
    says(&findings(&run), "ok", "keeps records for 168 h");
    Ok(())
}

async fn a_set_point_that_commits_cannot_hold_is_a_warning(kafka: &Kafka) -> TestResult {
    let (topic, group) = (kafka.name("orders"), kafka.name("billing"));
    kafka.create_topic(&topic, 1).await?;
    kafka.produce(&topic, 0..1, 1_000).await?;
    kafka.commit(&group, &topic, &[(0, 1)]).await?;
    let ended = Arc::<AtomicBool>::default();
    let protect = format!("{group}:100ms");
    let watched = doctor(kafka.bootstrap(), &topic, &protect, &["--watch", "9s"]);
    let (stop, committing) = (Arc::clone(&ended), async {
        for offset in 2.. {
            if ended.load(Ordering::SeqCst) {
                break;
            }
            kafka.commit(&group, &topic, &[(0, 10 * offset)]).await?;
            sleep(Duration::from_millis(1500)).await;
        }
        Ok::<_, Stop>(())
    });
    let watching = async {
        let run = watched.await;
        stop.store(true, Ordering::SeqCst);
        run
    };
    let (run, committed) = tokio::join!(watching, committing);
    committed?;
    let run = run?;
    run.exits(0);
    says(&findings(&run), "warning", "lag cannot be held at 0.1 s");
    Ok(())
}

async fn doctor(bootstrap: &str, topic: &str, protect: &str, more: &[&str]) -> Result<Output, Stop> {
    let mut arguments = vec!["-b", bootstrap, "-t", topic, "--protect", protect, "--json"];
    arguments.extend(more);
    let launch = Launch::of("doctor", &arguments);
    Ok(tokio::task::spawn_blocking(move || launch.ends()).await?)
}

/// Runs it again until `good`, for ten seconds.
async fn until<F: Future<Output = Result<Output, Stop>>>(
    look: &impl Fn() -> F,
    good: impl Fn(&Output) -> bool,
) -> Result<Output, Stop> {
    for _ in 0..20 {
        let run = look().await?;
        if good(&run) {
            return Ok(run);
        }
        sleep(Duration::from_millis(500)).await;
    }
    Err(Stop::Failed(format!("{:#?}", look().await?)))
}

fn findings(run: &Output) -> Vec<Value> {
    let lines = run.stdout.lines().map(|line| serde_json::from_str(line).expect("an object a line"));
    lines.filter(|value: &Value| value["summary"].is_null()).collect()
}

fn levels(found: &[Value], level: &str) -> usize {
    found.iter().filter(|finding| finding["level"] == level).count()
}

#[track_caller]
fn says(found: &[Value], level: &str, words: &str) {
    let good = |finding: &Value| finding["level"] == level && finding.to_string().contains(words);
    assert!(found.iter().any(good), "no {level} with {words:?}: {found:#?}");
}
