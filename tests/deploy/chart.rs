//! The chart by itself: lint, values that are refused, flags, and what each switch adds. Needs no API server.

use std::collections::{BTreeMap, BTreeSet};

use migrationlink_operator::config::{self, Config, Invocation};
use serde_json::{Value, json};

use crate::table::settings;
use crate::tools::{CHART, RELEASE, helm_command, only, rendered, run, template};

#[test]
fn helm_lint_finds_nothing() {
    let output = run(&mut helm_command(&["lint", "--strict", CHART]), "");
    assert!(output.success, "{}{}", output.stdout, output.stderr);
    // So that it can fail: a value of a wrong type is found.
    let output = run(&mut helm_command(&["lint", "--strict", CHART, "--set", "replicaCount=many"]), "");
    assert!(!output.success, "{}", output.stdout);
}

/// Where the schema refuses, helm says the path of the value, or that an object has none of that name.
#[test]
fn a_wrong_value_is_refused_with_its_path() {
    let long = "a".repeat(64);
    for (values, path) in [
        (json!({"replicaCount": "two"}), "/replicaCount"),
        (json!({"replicaCount": 11}), "/replicaCount"),
        (json!({"allowedOrigins": []}), "/allowedOrigins"),
        (json!({"allowedOrigins": ["https://*.example.com"]}), "/allowedOrigins/0"),
        (
            json!({"allowedOrigins": ["https://a.example.com", "https://om.example.com/api"]}),
            "/allowedOrigins/1",
        ),
        (json!({"allowedOrigins": "https://om.example.com"}), "/allowedOrigins"),
        (json!({"watchNamespaces": ["Payments"]}), "/watchNamespaces/0"),
        (json!({"secretAccess": "list"}), "/secretAccess"),
        (json!({"concurrency": 0}), "/concurrency"),
        (json!({"originConcurrency": 65536}), "/originConcurrency"),
        (json!({"apiRate": "10"}), "/apiRate"),
        (json!({"originRate": "10/h"}), "/originRate"),
        (json!({"syncInterval": 15}), "/syncInterval"),
        (json!({"syncInterval": "15 minutes"}), "/syncInterval"),
        (json!({"deletionGracePeriod": "none"}), "/deletionGracePeriod"),
        (json!({"image": {"repository": ""}}), "/image/repository"),
        (json!({"image": {"digest": "sha256:12"}}), "/image/digest"),
        (json!({"image": {"pullPolicy": "Sometimes"}}), "/image/pullPolicy"),
        (json!({"imagePullSecrets": [{"name": ""}]}), "/imagePullSecrets/0/name"),
        (json!({"rbac": {"secretAccess": "namespaced"}}), "/rbac/secretAccess"),
        (json!({"serviceAccount": {"name": "Links"}}), "/serviceAccount/name"),
        (json!({"leaderElection": {"leaseName": "Upper"}}), "/leaderElection/leaseName"),
        (json!({"leaderElection": {"leaseNamespace": long}}), "/leaderElection/leaseNamespace"),
        (json!({"leaderElection": {"leaseDuration": "15"}}), "/leaderElection/leaseDuration"),
        (json!({"health": {"bindAddress": "8081"}}), "/health/bindAddress"),
        (json!({"metrics": {"bindAddress": "8080"}}), "/metrics/bindAddress"),
        (json!({"metrics": {"service": {"port": 0}}}), "/metrics/service/port"),
        (json!({"metrics": {"serviceMonitor": {"interval": "often"}}}), "/metrics/serviceMonitor/interval"),
        (
            json!({"metrics": {"serviceMonitor": {"scrapeTimeout": 10}}}),
            "/metrics/serviceMonitor/scrapeTimeout",
        ),
        (json!({"ca": {"kind": "File"}}), "/ca/kind"),
        (json!({"ca": {"name": "om_ca"}}), "/ca/name"),
        (json!({"ca": {"name": "om-ca", "key": "../ca.crt"}}), "/ca/key"),
        (json!({"nameOverride": "Links"}), "/nameOverride"),
        (json!({"fullnameOverride": "links operator"}), "/fullnameOverride"),
        (json!({"priorityClassName": "High\nx: y"}), "/priorityClassName"),
        // A URL with a password belongs into a Secret.
        (json!({"proxy": {"https": "http://user:secret@proxy.example.com:3128"}}), "/proxy/https"),
        (json!({"proxy": {"http": "socks5://proxy.example.com"}}), "/proxy/http"),
        (json!({"networkPolicy": {"egressPorts": [0]}}), "/networkPolicy/egressPorts/0"),
        (json!({"podDisruptionBudget": {"maxUnavailable": "half"}}), "/podDisruptionBudget/maxUnavailable"),
        (json!({"terminationGracePeriodSeconds": -1}), "/terminationGracePeriodSeconds"),
        (json!({"revisionHistoryLimit": 101}), "/revisionHistoryLimit"),
        (json!({"log": {"format": "xml"}}), "/log/format"),
        (json!({"log": {"level": ""}}), "/log/level"),
        (json!({"crds": {"enabled": "yes"}}), "/crds/enabled"),
    ] {
        refused(&values, &format!("at '{path}': "));
    }
    for (values, said) in [
        (json!({"replicas": 2}), "at '': additional properties 'replicas' not allowed"),
        (json!({"image": {"name": "x"}}), "at '/image': additional properties 'name' not allowed"),
        (json!({"replicaCount": 2, "leaderElection": {"enabled": false}}), "leaderElection.enabled is false"),
        (json!({"serviceAccount": {"create": false}}), "serviceAccount.name must name"),
        (
            json!({"metrics": {"bindAddress": "0", "serviceMonitor": {"enabled": true}}}),
            "there is nothing to scrape",
        ),
        (
            json!({
                "health": {"bindAddress": ":8080"},
                "networkPolicy": {"enabled": true, "metricsFrom": [{"podSelector": {}}]},
            }),
            "needs a metrics.bindAddress other than health.bindAddress",
        ),
    ] {
        refused(&values, said);
    }
}

fn refused(values: &Value, said: &str) {
    let output = template(values, &[]);
    assert!(!output.success, "{values} is taken");
    assert!(output.stderr.contains(said), "{values}: {}", output.stderr);
}

/// The arguments of the container, and what the program reads in them.
fn arguments(values: &Value) -> (Vec<String>, Config) {
    let objects = rendered(values);
    let container = &only(&objects, "Deployment")["spec"]["template"]["spec"]["containers"][0];
    let args: Vec<String> = serde_json::from_value(container["args"].clone()).unwrap();
    match config::parse(args.iter().map(Into::into), |_| None) {
        Ok(Invocation::Run(config)) => (args, *config),
        other => panic!("{args:?}: {other:?}"),
    }
}

/// The flags of `migrationlink-operator run --help`.
fn flags() -> BTreeSet<String> {
    let help = config::parse(["run".into(), "--help".into()], |_| None).unwrap_err().to_string();
    let flags = help.lines().filter_map(|line| line.trim().strip_prefix("--"));
    flags.map(|line| line.split(' ').next().unwrap().to_owned()).filter(|flag| flag != "help").collect()
}

#[test]
fn every_flag_is_a_value_and_every_value_that_names_a_flag_sets_it() {
    let settings = settings();
    let named: Vec<_> = settings.iter().filter_map(|setting| setting.flag.clone()).collect();
    assert_eq!(named.iter().cloned().collect::<BTreeSet<_>>(), flags());
    assert_eq!(named.len(), flags().len(), "two values for one flag: {named:?}");

    let samples = BTreeMap::from([
        ("allowed-origin", (json!(["https://om.example.com:8443"]), "https://om.example.com:8443")),
        ("watch-namespace", (json!(["payments"]), "payments")),
        ("secret-access", (json!("get"), "get")),
        ("concurrency", (json!(1), "1")),
        ("origin-concurrency", (json!(65535), "65535")),
        ("api-rate", (json!("30/m"), "30/m")),
        ("origin-rate", (json!("0"), "0")),
        ("sync-interval", (json!("1h30m"), "1h30m")),
        ("deletion-grace-period", (json!("never"), "never")),
        ("leader-elect", (json!(false), "false")),
        ("lease-namespace", (json!("operators"), "operators")),
        ("lease-name", (json!("links.team-a"), "links.team-a")),
        ("lease-duration", (json!("1m"), "1m")),
        ("health-probe-bind-address", (json!("[::1]:9000"), "[::1]:9000")),
        ("metrics-bind-address", (json!("0"), "0")),
        ("ca-file", (json!("om-ca"), "/etc/migrationlink-operator/ca/ca.crt")),
        ("log-format", (json!("text"), "text")),
        ("log-level", (json!("warn,migrationlink_operator=debug"), "warn,migrationlink_operator=debug")),
    ]);
    let (usual, _) = arguments(&json!({}));
    for setting in &settings {
        let Some(flag) = &setting.flag else { continue };
        let (value, expected) = &samples[flag.as_str()];
        let values = setting.path.rsplit('.').fold(value.clone(), |value, name| json!({name: value}));
        let (args, _) = arguments(&values);
        let expected = format!("--{flag}={expected}");
        assert!(args.contains(&expected) && !usual.contains(&expected), "{values}: {args:?}");
    }
}

#[test]
fn without_a_value_the_operator_has_its_own_defaults() {
    let Ok(Invocation::Run(own)) = config::parse(["run".into()], |_| None) else {
        panic!("run is a command")
    };
    assert_eq!(arguments(&json!({})).1, *own);
}

#[test]
fn the_lease_is_named_after_the_release() {
    let args = ["template", "team-a", CHART];
    let output = run(&mut helm_command(&args), "");
    assert!(output.stdout.contains("--lease-name=team-a-migrationlink-operator\n"), "{}", output.stdout);
    assert!(output.stdout.contains("resourceNames: [team-a-migrationlink-operator]"), "{}", output.stdout);
    assert!(template(&json!({}), &[]).stdout.contains(&format!("--lease-name={RELEASE}\n")));
}

#[test]
fn per_namespace_access_has_no_rule_for_secrets_that_is_bound() {
    let objects = rendered(&json!({"rbac": {"secretAccess": "perNamespace"}}));
    let roles: Vec<_> = objects.iter().filter(|object| !object["rules"].is_null()).collect();
    let about_inputs = |role: &Value| {
        let text = role["rules"].to_string();
        text.contains("\"secrets\"") || text.contains("\"configmaps\"")
    };
    let with: Vec<_> =
        roles.iter().filter(|role| about_inputs(role)).map(|role| &role["metadata"]["name"]).collect();
    assert_eq!(with, ["migrationlink-operator-secrets"]);
    let bound = objects.iter().filter(|object| !object["roleRef"].is_null());
    assert!(bound.clone().count() == 2 && bound.clone().all(|object| object["roleRef"]["name"] != *with[0]));
    let (args, _) = arguments(&json!({"rbac": {"secretAccess": "perNamespace"}}));
    assert!(args.contains(&"--secret-access=get".to_owned()), "{args:?}");
}

#[test]
fn what_a_switch_adds_is_there_and_not_without_it() {
    let has = |values: Value, kind: &str| rendered(&values).iter().any(|object| object["kind"] == kind);
    assert!(!has(json!({}), "PodDisruptionBudget"));
    assert!(has(json!({"replicaCount": 2}), "PodDisruptionBudget"));
    assert!(!has(
        json!({"replicaCount": 2, "podDisruptionBudget": {"enabled": false}}),
        "PodDisruptionBudget"
    ));
    assert!(!has(json!({}), "NetworkPolicy"));
    assert!(!has(json!({}), "ServiceMonitor"));
    assert!(has(json!({}), "Service"));
    assert!(!has(json!({"metrics": {"bindAddress": "0"}}), "Service"));
    assert!(has(json!({}), "ClusterRole"));
    let own =
        json!({"watchReleaseNamespace": true, "watchNamespaces": ["a"], "rbac": {"aggregateRoles": false}});
    assert!(!has(own.clone(), "ClusterRole") && !has(own.clone(), "ClusterRoleBinding"));
    let objects = rendered(&own);
    let roles = objects.iter().filter(|object| object["kind"] == "Role");
    let of: BTreeSet<_> = roles
        .map(|role| {
            format!("{}/{}", role["metadata"]["namespace"], role["metadata"]["name"]).replace('"', "")
        })
        .collect();
    let name = "migrationlink-operator";
    let wanted = [
        format!("a/{name}"),
        format!("migrationlink-system/{name}"),
        format!("migrationlink-system/{name}-lease"),
    ];
    assert_eq!(of, BTreeSet::from(wanted));

    let policy = json!({"networkPolicy": {"enabled": true, "egressPorts": [443, 3128]}});
    let objects = rendered(&policy);
    let ports = only(&objects, "NetworkPolicy")["spec"]["egress"][1]["ports"].clone();
    assert_eq!(ports, json!([{"port": 443, "protocol": "TCP"}, {"port": 3128, "protocol": "TCP"}]));

    let objects = rendered(&json!({"metrics": {"serviceMonitor": {"enabled": true}}}));
    assert_eq!(only(&objects, "ServiceMonitor")["spec"]["endpoints"][0]["honorLabels"], true);

    let pod = |values: Value| only(&rendered(&values), "Deployment")["spec"]["template"]["spec"].clone();
    let version = env!("CARGO_PKG_VERSION");
    assert_eq!(
        pod(json!({}))["containers"][0]["image"],
        format!("localhost/migrationlink-operator:{version}")
    );
    let digest = format!("sha256:{}", "0".repeat(64));
    let image = json!({"image": {"digest": digest, "tag": "ignored"}});
    assert_eq!(pod(image)["containers"][0]["image"], format!("localhost/migrationlink-operator@{digest}"));
    let env = pod(json!({"proxy": {"https": "http://proxy:3128", "noProxy": "om.internal"}}))["containers"]
        [0]["env"]
        .clone();
    let wanted = json!([
        {"name": "HTTPS_PROXY", "value": "http://proxy:3128"},
        {"name": "NO_PROXY", "value": "om.internal"},
    ]);
    assert_eq!(env, wanted);
    let spread = json!({"topologySpreadConstraints": [
        {"maxSkew": 1, "topologyKey": "kubernetes.io/hostname", "whenUnsatisfiable": "ScheduleAnyway"}
    ]});
    let selector = pod(spread)["topologySpreadConstraints"][0]["labelSelector"]["matchLabels"].clone();
    assert_eq!(selector["app.kubernetes.io/instance"], RELEASE);
    let strategy =
        only(&rendered(&json!({"leaderElection": {"enabled": false}})), "Deployment")["spec"]["strategy"]
            .clone();
    assert_eq!(strategy, json!({"type": "Recreate"}));
}
