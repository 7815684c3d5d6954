//! Every file in `config/` loads as it is, `config/agent.toml` names every option there is, and a bad file is told
//! everything that is wrong with it at once.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use lagvalve::agent::{Mode, ValveSettings};
use lagvalve::config::{Config, ConfigError, Surroundings, known_options};
use lagvalve::lag::Isolation;

fn files() -> Vec<PathBuf> {
    let config = Path::new(env!("CARGO_MANIFEST_DIR")).join("config");
    let mut found: Vec<PathBuf> = [config.clone(), config.join("examples")]
        .iter()
        .flat_map(|dir| fs::read_dir(dir).expect("the folder is part of the repository"))
        .map(|entry| entry.expect("a readable folder").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "toml"))
        .collect();
    found.sort();
    found
}

fn parse(text: &str) -> Result<Config, ConfigError> {
    let env = |name: &str| (name == "SECRET").then(|| "hush".to_owned());
    Config::parse(text, &Surroundings { dir: Path::new("/nonexistent"), env: &env })
}

/// The problems of `text` as lines.
fn problems(text: &str) -> Vec<String> {
    parse(text).expect_err("this text is wrong").problems().iter().map(ToString::to_string).collect()
}

const SMALL: &str = "[clusters.main]\nbootstrap_servers = [\"localhost:9092\"]\n\
    [[valves]]\nname = \"v\"\ntopics = [\"t\"]\n[[valves.protect]]\ngroup = \"g\"\n";

#[test]
fn every_file_in_config_loads_as_it_is() {
    let files = files();
    assert!(files.iter().any(|path| path.ends_with("config/agent.toml")));
    for path in files {
        match Config::load(&path) {
            Ok(config) => assert_eq!(config.warnings, Vec::<String>::new(), "{}", path.display()),
            Err(error) => panic!("{}: {error}", path.display()),
        }
    }
}

#[test]
fn the_commented_file_names_every_option_and_shows_the_defaults() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("config/agent.toml");
    let text = fs::read_to_string(&path).unwrap();
    for option in known_options() {
        let key = option.rsplit('.').next().unwrap().trim_end_matches("[]").to_owned();
        let mentioned = text.lines().map(|line| line.trim_start_matches([' ', '#'])).any(|line| {
            let line = line.trim_start_matches('[');
            let name = line.split([' ', '=', ']']).next().unwrap_or_default();
            name.split('.').any(|part| part == key)
        });
        assert!(mentioned, "{option} does not stand in config/agent.toml");
    }
    let config = Config::load(&path).unwrap();
    let mut defaults = ValveSettings::new("orders-backfill", vec!["orders".into()]);
    defaults.protect.push(lagvalve::agent::ProtectedGroup::new("billing"));
    assert_eq!(config.valves[0].settings, defaults);
}

/// The file with every commented option switched on is understood too (but for the secrets and files it names).
#[test]
fn what_is_commented_out_is_understood_as_well() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("config/agent.toml");
    let text = fs::read_to_string(path).unwrap();
    let lines = text.lines().map(|line| {
        let bare = line.trim_start();
        let option = bare.strip_prefix("# ").map(str::trim_start).filter(|rest| {
            let word = rest.split([' ', '=']).next().unwrap_or_default();
            rest.starts_with("[clusters")
                || rest.starts_with("[valves")
                || rest.starts_with("[state]")
                || (rest.contains(" = ") && word.chars().all(|c| c.is_ascii_lowercase() || "._\"".contains(c)))
        });
        option.unwrap_or(line)
    });
    // Instead of one another, or only with another law.
    let text = lines.filter(|line| !line.contains("_env")).collect::<Vec<_>>().join("\n");
    let text = text.replace("law = \"time_lag\"", "law = \"pid\"");
    let found = problems(&text);
    let files = found.iter().filter(|problem| problem.contains("cannot be read (No such file"));
    assert_eq!((files.count(), found.len()), (5, 5), "{found:#?}");
}

#[test]
fn all_problems_are_told_at_once_with_line_path_value_and_range() {
    let found = problems(
        "[clusters.main]\nbootstrap_servers = [\"localhost\"]\nretries = 3\n\
         [[valves]]\nname = \"orders backfill\"\ntopics = []\nmode = \"enforced\"\nmin_rat = 1\nmin_rate = 0\n\
         max_rate = \"fast\"\npoll_interval = 1\nsignal_grace = \"2 hours\"\n\
         [[valves.protect]]\ngroup = \"g\"\ntarget_lag = \"5d\"\nmin_runway = \"6s\"\n\
         [http]\nlisten = \"5248\"\n",
    );
    let expected = [
        "line 2: clusters.main.bootstrap_servers = [\"localhost\"]: \"localhost\" is not host:port",
        "line 3: clusters.main.retries: is not an option; known here: bootstrap_servers",
        "line 5: valves[\"orders backfill\"].name = \"orders backfill\": must be 1 to 100 of letters",
        "line 6: valves[\"orders backfill\"].topics = []: needs at least one topic",
        "line 7: valves[\"orders backfill\"].mode = \"enforced\": must be one of \"off\", \"observe\", \"enforce\" (did you mean \"enforce\"?)",
        "line 8: valves[\"orders backfill\"].min_rat: is not an option; did you mean min_rate?",
        "line 9: valves[\"orders backfill\"].min_rate = 0: must be a number from 0.001 to 1000000000 messages/s",
        "line 10: valves[\"orders backfill\"].max_rate = \"fast\": must be a number",
        "line 11: valves[\"orders backfill\"].poll_interval = 1: must be a duration in quotes",
        "line 12: valves[\"orders backfill\"].signal_grace = \"2 hours\": must be a duration, for example \"2s\", \"500ms\" or \"1h\", from 1s to 1h",
        "line 15: valves[\"orders backfill\"].protect[\"g\"].target_lag = \"5d\": must be a duration",
        "line 16: valves[\"orders backfill\"].protect[\"g\"].min_runway = \"6s\": must be",
        "line 18: http.listen = \"5248\": must be address:port",
    ];
    assert_eq!(found.len(), expected.len(), "{found:#?}");
    for (found, expected) in found.iter().zip(expected) {
        assert!(found.starts_with(expected), "{found}\n{expected}");
    }
}

#[test]
fn values_must_agree_with_each_other() {
    let table = [
        ("max_rate = 0.5", "is below min_rate = 1"),
        ("max_rate = 100\nsafe_rate = 200", "is above max_rate = 100"),
        ("initial_rate = 0.1", "is below min_rate"),
        ("poll_interval = \"10s\"", "at least two poll intervals"),
        ("cluster = \"mian\"", "no such cluster; there are: main; did you mean main?"),
        ("pid = { kp = 1 }", "only with law = \"pid\""),
    ];
    for (line, words) in table {
        let text = SMALL.replace("topics = [\"t\"]", &format!("topics = [\"t\"]\n{line}"));
        let found = problems(&text);
        assert!(found.iter().any(|problem| problem.contains(words)), "{line}: {found:#?}");
    }
    let second = "[[valves]]\nname = \"v\"\ntopics = [\"t\"]\n[[valves.protect]]\ngroup = \"g\"\nmax_lag = \"1s\"\n\
                  [[valves.protect]]\ngroup = \"g\"\n";
    let found = problems(&format!("{SMALL}{second}")).join("\n");
    for words in ["every valve has a name of its own", "one controller a topic", "above target_lag", "stands twice"] {
        assert!(found.contains(words), "{words}: {found}");
    }
}

#[test]
fn a_whole_that_is_missing_is_told() {
    let found = problems("").join("\n");
    assert!(found.contains("[clusters.main]") && found.contains("[[valves]]"), "{found}");
    let found = problems("[clusters.main]\nbootstrap_servers = [\"a:1\"]\n[[valves]]\n").join("\n");
    for words in ["name: is needed", "topics: is needed", "nothing governs this valve"] {
        assert!(found.contains(words), "{words}: {found}");
    }
    let off = parse(&SMALL.replace("[[valves.protect]]\ngroup = \"g\"\n", "mode = \"off\"\n")).unwrap();
    assert_eq!(off.valves[0].settings.mode, Mode::Off);
}

#[test]
fn secrets_come_from_file_or_environment_and_are_never_shown() {
    let sasl = |password: &str| {
        format!("{SMALL}[clusters.main.sasl]\nmechanism = \"SCRAM-SHA-512\"\nusername = \"u\"\n{password}\n")
    };
    let config = parse(&sasl("password_env = \"SECRET\"")).unwrap();
    let connection = &config.clusters[0].connection;
    assert_eq!(connection.properties["sasl.password"], "hush");
    assert_eq!(connection.properties["security.protocol"], "SASL_PLAINTEXT");
    assert!(!format!("{config:?}").contains("hush"));

    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("password"), "from file\n").unwrap();
    let surroundings = Surroundings { dir: folder.path(), env: &|_| None };
    let config = Config::parse(&sasl("password_file = \"password\""), &surroundings).unwrap();
    assert_eq!(config.clusters[0].connection.properties["sasl.password"], "from file");

    let table = [
        ("password = \"hush\"", "use password_file or password_env"),
        ("password_env = \"NO_SUCH\"", "is not set in the environment"),
        ("password_file = \"none\"", "cannot be read"),
        ("password_file = \"none\"\npassword_env = \"SECRET\"", "keep one of them"),
        ("", "needs password_file or password_env"),
    ];
    for (line, words) in table {
        let found = problems(&sasl(line)).join("\n");
        assert!(found.contains(words) && !found.contains("hush"), "{line}: {found}");
    }
    let found = problems(&format!("{SMALL}[clusters.main.properties]\n\"sasl.pasword\" = \"hush\"\n")).join("\n");
    assert!(found.contains("sasl.pasword") && !found.contains("hush"), "{found}");
    // An unfinished text: the parser's own message would quote the line.
    let found = problems(&sasl("password = \"hush")).join("\n");
    assert!(found.contains("not TOML") && found.contains("line 11") && !found.contains("hush"), "{found}");
}

#[test]
fn every_setting_arrives() {
    let text = "[clusters.main]\nbootstrap_servers = [\"a:1\", \"b:2\"]\n[clusters.main.producer]\n\"linger.ms\" = 20\n\
        [[valves]]\nname = \"v\"\ntopics = [\"t\", \"u\"]\nmode = \"observe\"\nstart = \"slow\"\ninitial_rate = 2_000\n\
        min_rate = 5\nmax_rate = 50_000.0\nmax_bytes_per_second = 1e6\nsafe_rate = 500\non_signal_lost = \"closed\"\n\
        signal_grace = \"1m\"\npoll_interval = \"500ms\"\nlaw = \"pid\"\n[valves.pid]\nkp = 0.5\n\
        [[valves.protect]]\ngroup = \"g\"\ntarget_lag = \"4s\"\nmax_lag = \"1m\"\nisolation = \"read_committed\"\n\
        [http]\nlisten = \"[::1]:99\"\ncontrol_token_env = \"SECRET\"\n[state]\ndir = \"s\"\n";
    let config = parse(text).unwrap();
    assert_eq!(config.clusters[0].connection.bootstrap_servers, ["a:1", "b:2"]);
    assert_eq!(config.clusters[0].producer["linger.ms"], "20");
    let valve = &config.valves[0].settings;
    assert_eq!(valve.initial_rate.map(|rate| rate.get()), Some(2000.0));
    assert_eq!(valve.max_bytes_per_second, Some(1e6));
    assert_eq!((valve.signal_grace, valve.poll_interval), (Duration::from_secs(60), Duration::from_millis(500)));
    assert_eq!((valve.pid.kp, valve.pid.ki), (0.5, 0.0025));
    assert_eq!(valve.protect[0].max_lag, Some(Duration::from_secs(60)));
    assert_eq!(valve.protect[0].isolation, Isolation::ReadCommitted);
    assert_eq!(config.http.listen.port(), 99);
    assert_eq!(config.http.control_token.as_deref(), Some("hush"));
    assert_eq!(config.state.dir.as_deref(), Some(Path::new("/nonexistent/s")));
}
