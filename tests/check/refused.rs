//! What cannot be checked, or would be refused: it is named with what to do, and nothing of it is shown.

use super::{Cloud, ORG_ID, PRIVATE_KEY, TOKEN, check, file, link, run, secret};

#[tokio::test]
async fn a_manifest_that_the_api_server_would_refuse_is_refused_with_its_sentence() {
    for (manifest, words) in [
        (
            link("https://user:hunter2@om", ""),
            "spec.baseUrl is refused: baseUrl must be https://HOST[:PORT][/PATH]",
        ),
        (
            link("https://om", "").replace(ORG_ID, "123456789012345678901234"),
            "spec.orgId is refused: must be text: put it in quotes",
        ),
        (
            link("https://om", "").replace(ORG_ID, TOKEN),
            "spec.orgId is refused: orgId must be the organization's id",
        ),
        (link("https://om", "  suspend: \"hunter2\"\n"), "spec.suspend is refused: must be true or false"),
        (
            link("https://om", "  syncInterval: 5s\n"),
            "spec.syncInterval is refused: syncInterval must be a duration",
        ),
        (link("https://om", "").replace("secretRef", "secretref"), "spec.secretRef is refused: is required"),
    ] {
        let ended =
            check(&["-f", "-", "--allowed-origin=https://om"], &[], &(manifest + &secret(PRIVATE_KEY))).await;
        assert_eq!(ended.code, Some(1), "{ended:?}");
        let [problem] = ended.problems()[..] else { panic!("{ended:?}") };
        assert!(
            problem.starts_with("problem payments/payments manifest: ") && problem.contains(words),
            "{problem}"
        );
        assert!(!ended.stdout.contains(" next: "), "nothing is foreseen for it: {ended:?}");
    }
}

/// Whatever lies in the wrong place: no value is repeated, not even by a parser that shows the line of a mistake.
#[tokio::test]
async fn a_malformed_file_is_named_and_nothing_of_it_is_shown() {
    let cloud = Cloud::start().await;
    let of_secret = |data: &str| {
        format!("apiVersion: v1\nkind: Secret\nmetadata: {{name: keys, namespace: payments}}\n{data}\n")
    };
    for (content, words) in [
        (String::new(), "There is no MigrationLink to check"),
        (secret(PRIVATE_KEY), "There is no MigrationLink to check"),
        (format!("linkToken: {TOKEN}\n"), "an object without a kind"),
        (TOKEN.to_owned(), "a document that is no object"),
        (
            cloud.link("") + &of_secret(&format!("stringData:\n  linkToken: \"{TOKEN}")),
            "standard input is not YAML (line ",
        ),
        (
            cloud.link("") + &of_secret(&format!("stringData:\n  linkToken {TOKEN}\n  privateKey: x")),
            "is not YAML (line ",
        ),
        (
            cloud.link("") + &of_secret(&format!("data: {{linkToken: \"{TOKEN}!\"}}")),
            "linkToken in its data is not base64",
        ),
        (
            cloud.link("") + &of_secret(&format!("stringData: {TOKEN}")),
            "its stringData is not a list of keys",
        ),
        (
            cloud.link("") + &of_secret(&format!("stringData: {{{TOKEN}: 1}}")),
            "the value of (not shown) in its stringData",
        ),
        (
            cloud.link("") + &of_secret(&format!("stringData: {{linkToken: [{TOKEN}]}}")),
            "the value of linkToken in its stringData is not text",
        ),
    ] {
        let ended = check(&["-f", "-", &cloud.allowed()], &[], &content).await;
        assert_eq!(ended.code, Some(1), "{content}: {ended:?}");
        assert!(ended.problems().iter().any(|problem| problem.contains(words)), "{words}: {ended:?}");
    }
    let ended = check(&["-f", "/nowhere/link.yaml"], &[], "").await;
    assert_eq!(ended.code, Some(1), "{ended:?}");
    assert!(ended.problems()[0].contains("/nowhere/link.yaml cannot be read"), "{ended:?}");
}

#[tokio::test]
async fn certificates_and_proxies_that_cannot_be_used_are_named() {
    let cloud = Cloud::start().await;
    let manifests = cloud.link("") + &secret(PRIVATE_KEY);
    let text = file("text.pem", "hunter2");
    for (flags, env, words) in [
        (&["--ca-file", "/nowhere/ca.pem"][..], &[][..], "ca: --ca-file /nowhere/ca.pem cannot be read"),
        (&["--ca-file", &text], &[], "text.pem holds no certificate"),
        (
            &[],
            &[("HTTPS_PROXY", "socks5://u:hunter2@proxy")],
            "proxy: HTTPS_PROXY is not the URL of an HTTP proxy",
        ),
    ] {
        let allowed = cloud.allowed();
        let args = [&["-f", "-", &allowed], flags].concat();
        let ended = check(&args, env, &manifests).await;
        assert_eq!(ended.code, Some(1), "{ended:?}");
        let [problem] = ended.problems()[..] else { panic!("{ended:?}") };
        assert!(problem.contains(words), "{problem}");
    }
    assert_eq!(cloud.simulator.journal(), []);
}

#[tokio::test]
async fn a_link_in_a_cluster_takes_a_cluster() {
    let ended = check(&["payments/payments"], &[], "").await;
    assert_eq!(ended.code, Some(1), "{ended:?}");
    let line = ended.line("resource");
    assert!(
        line.starts_with("problem payments/payments ") && line.contains("no way to the Kubernetes API"),
        "{line}"
    );
    assert!(line.ends_with(": Give a kubeconfig, or check a manifest with -f"), "{line}");
}

#[tokio::test]
async fn bad_usage_is_exit_code_2() {
    for args in [
        &[][..],
        &["payments"],
        &["payments/payments", "-f", "-"],
        &["payments/payments", "-o", "yaml"],
        &["payments/payments", "--concurrency=1"],
        &["-f", "-", "--allowed-origin=https://u:hunter2@om"],
    ] {
        let ended = run(args, &[], "").await;
        assert_eq!((ended.code, ended.stdout.as_str()), (Some(2), ""), "{ended:?}");
        assert!(ended.stderr.starts_with("error: "), "{ended:?}");
    }
    let help = run(&["--help"], &[], "").await;
    assert_eq!(help.code, Some(0));
    for words in [
        "NAMESPACE/NAME",
        "[env: MIGRATIONLINK_ALLOWED_ORIGIN]",
        "[env: MIGRATIONLINK_CA_FILE]",
        "Exit code: 0 if",
    ] {
        assert!(help.stdout.contains(words), "{words}: {}", help.stdout);
    }
}
