//! What can be set, by flag and by variable, and what is wrong with a value.

use super::*;

fn parsed(args: &str, env: &[(&str, &str)]) -> Result<Config, String> {
    let args = args.split_whitespace().map(OsString::from);
    let env = |name: &str| env.iter().find(|(key, _)| *key == name).map(|(_, value)| value.into());
    match parse(args, env) {
        Ok(Invocation::Run(config)) => Ok(*config),
        Ok(other) => Err(format!("{other:?}").to_lowercase()),
        Err(error) => {
            assert_eq!(error.exit_code(), 2);
            Err(error.to_string())
        }
    }
}

fn defaults() -> Config {
    Config {
        allowed_origins: vec!["https://cloud.mongodb.com".parse().unwrap()],
        watch_namespaces: Vec::new(),
        secret_access: SecretAccess::Watch,
        concurrency: 64,
        origin_concurrency: 32,
        api_rate: "10/s".parse().unwrap(),
        origin_rate: "100/s".parse().unwrap(),
        sync_interval: Duration::from_mins(15),
        deletion_grace_period: GracePeriod::For(Duration::from_mins(10)),
        leader_elect: true,
        lease_namespace: None,
        lease_name: "migrationlink-operator".to_owned(),
        lease_duration: Duration::from_secs(15),
        health_probe_bind_address: BindAddress::Any(8081),
        metrics_bind_address: BindAddress::Any(8080),
        ca_file: None,
        log_format: LogFormat::Json,
        log_level: "info".parse().unwrap(),
    }
}

/// Every flag with a value that is not the default, and the configuration that this is.
fn everything() -> (Vec<(&'static str, &'static str)>, Config) {
    let flags = vec![
        ("allowed-origin", "https://om.example.com:8443,http://om"),
        ("watch-namespace", "b,a,b"),
        ("secret-access", "get"),
        ("concurrency", "1"),
        ("origin-concurrency", "2"),
        ("api-rate", "30/m"),
        ("origin-rate", "0"),
        ("sync-interval", "1h30m"),
        ("deletion-grace-period", "never"),
        ("leader-elect", "false"),
        ("lease-namespace", "operators"),
        ("lease-name", "links.team-a"),
        ("lease-duration", "1m"),
        ("health-probe-bind-address", "127.0.0.1:9000"),
        ("metrics-bind-address", "0"),
        ("ca-file", "/etc/om/ca.pem"),
        ("log-format", "text"),
        ("log-level", "warn,migrationlink_operator=debug"),
    ];
    let config = Config {
        allowed_origins: vec!["https://om.example.com:8443".parse().unwrap(), "http://om".parse().unwrap()],
        watch_namespaces: vec!["a".to_owned(), "b".to_owned()],
        secret_access: SecretAccess::Get,
        concurrency: 1,
        origin_concurrency: 2,
        api_rate: "30/m".parse().unwrap(),
        origin_rate: Rate::OFF,
        sync_interval: Duration::from_mins(90),
        deletion_grace_period: GracePeriod::Never,
        leader_elect: false,
        lease_namespace: Some("operators".to_owned()),
        lease_name: "links.team-a".to_owned(),
        lease_duration: Duration::from_mins(1),
        health_probe_bind_address: BindAddress::At("127.0.0.1:9000".parse().unwrap()),
        metrics_bind_address: BindAddress::Off,
        ca_file: Some("/etc/om/ca.pem".into()),
        log_format: LogFormat::Text,
        log_level: "warn,migrationlink_operator=debug".parse().unwrap(),
    };
    (flags, config)
}

#[test]
fn the_command_is_sound() {
    command().debug_assert();
}

#[test]
fn nothing_given_means_run_with_the_defaults() {
    assert_eq!(parsed("", &[]).unwrap(), defaults());
    assert_eq!(parsed("run", &[]).unwrap(), defaults());
    assert_eq!(parsed("crd", &[("MIGRATIONLINK_CONCURRENCY", "many")]).unwrap_err(), "crd");
}

#[test]
fn every_flag_can_be_given_on_the_command_line_and_in_the_environment() {
    let (flags, config) = everything();
    let all = command();
    let all = all.get_arguments().map(|arg| arg.get_long().unwrap());
    assert_eq!(all.collect::<Vec<_>>(), flags.iter().map(|(flag, _)| *flag).collect::<Vec<_>>());

    let line: Vec<_> = flags.iter().map(|(flag, value)| format!("--{flag} {value}")).collect();
    let line = line.join(" ");
    assert_eq!(parsed(&line, &[]).unwrap(), config);
    assert_eq!(parsed(&format!("run {line}"), &[]).unwrap(), config);

    let names: Vec<_> = flags.iter().map(|(flag, value)| (variable(flag), *value)).collect();
    let env: Vec<_> = names.iter().map(|(name, value)| (name.as_str(), *value)).collect();
    assert_eq!(parsed("", &env).unwrap(), config);
    assert_eq!(parsed("run", &env).unwrap(), config);
    let empty: Vec<_> = names.iter().map(|(name, _)| (name.as_str(), "")).collect();
    assert_eq!(parsed("run", &empty).unwrap(), defaults());

    for help in ["--help", "run --help"] {
        let help = parse(help.split(' ').map(OsString::from), |_| None).unwrap_err();
        assert_eq!(help.exit_code(), 0);
        let help = help.to_string();
        assert!(names.iter().all(|(name, _)| help.contains(&format!("[env: {name}]"))), "{help}");
    }
}

#[test]
fn the_command_line_wins_over_the_environment() {
    let env = [("MIGRATIONLINK_ALLOWED_ORIGIN", "https://a"), ("MIGRATIONLINK_CONCURRENCY", "none")];
    let config =
        parsed("--allowed-origin https://b --allowed-origin https://c --concurrency 2", &env).unwrap();
    assert_eq!(config.allowed_origins, ["https://b".parse().unwrap(), "https://c".parse().unwrap()]);
    assert_eq!(config.concurrency, 2);
}

#[test]
fn a_bad_value_gets_a_sentence_that_names_the_flag_or_the_variable() {
    for (flag, value, sentence) in [
        ("allowed-origin", "cloud.mongodb.com", "it is not a URL"),
        ("allowed-origin", "https://om/api", "it has a path"),
        ("allowed-origin", "https://*.example.com", "there are no wildcards"),
        ("watch-namespace", "Payments", "a namespace has at most 63 characters"),
        ("watch-namespace", "a,,b", "a namespace has at most 63 characters"),
        ("watch-namespace", "-a", "a namespace has at most 63 characters"),
        ("secret-access", "list", "[possible values: watch, get]"),
        ("concurrency", "0", "0 is not in 1..=65535"),
        ("origin-concurrency", "0", "0 is not in 1..=65535"),
        ("api-rate", "10", "write calls per second or minute, such as 10/s or 30/m, or 0 for no limit"),
        ("origin-rate", "-1/s", "write calls per second or minute"),
        ("sync-interval", "15", "write a duration such as"),
        ("sync-interval", "-15m", "write a duration such as"),
        ("sync-interval", "99999999999999999999h", "write a duration such as"),
        ("sync-interval", "5ms", "write a duration such as"),
        ("sync-interval", "59s", "it must be from 1m to 24h"),
        ("sync-interval", "24h1s", "it must be from 1m to 24h"),
        ("deletion-grace-period", "soon", "write a duration such as 90s"),
        ("leader-elect", "yes", "[possible values: true, false]"),
        ("lease-namespace", "a.b", "a namespace has at most 63 characters"),
        ("lease-name", "a..b", "the name of a lease has at most 253 characters"),
        ("lease-name", "Lease", "the name of a lease has at most 253 characters"),
        ("lease-duration", "4s", "it must be from 5s to 5m"),
        ("lease-duration", "5m1s", "it must be from 5s to 5m"),
        ("health-probe-bind-address", "8081", "write ADDR:PORT"),
        ("health-probe-bind-address", "localhost:8081", "write ADDR:PORT"),
        ("metrics-bind-address", ":65536", "write ADDR:PORT"),
        ("log-format", "yaml", "[possible values: json, text]"),
        ("log-level", "loud", "write off, error, warn"),
    ] {
        for word in ["", "run "] {
            let error = parsed(&format!("{word}--{flag}={value}"), &[]).unwrap_err();
            assert!(error.contains(sentence) && error.contains(&format!("--{flag} ")), "{error}");
            assert!(!error.contains("MIGRATIONLINK"), "{error}");
            let name = variable(flag);
            let error = parsed(word, &[(&name, value)]).unwrap_err();
            assert!(error.contains(sentence) && error.contains(&name), "{error}");
        }
    }
}

#[test]
fn a_password_in_a_url_is_not_repeated() {
    let url = "https://user:hunter2@om.example.com";
    for error in [
        parsed(&format!("--allowed-origin {url}"), &[]).unwrap_err(),
        parsed("", &[("MIGRATIONLINK_ALLOWED_ORIGIN", url)]).unwrap_err(),
    ] {
        assert!(error.contains("it holds user info") && !error.contains("hunter2"), "{error}");
    }
}

#[test]
fn what_does_not_exist_is_refused() {
    for args in [
        "--no-such-flag",
        "--concurrency",
        "--leader-elect",
        "walk",
        "crd --concurrency 1",
        "--concurrency 1 crd",
    ] {
        assert!(parsed(args, &[]).unwrap_err().starts_with("error: "), "{args}");
    }
}
