//! The command line of `check`.

use std::path::PathBuf;

use clap::{ArgGroup, Args, ValueEnum};

use super::{InvalidValue, namespace, origin};
use crate::endpoint::Origin;

// The first paragraph of each field's comment is its help text.
/// What is to be checked, and how.
#[derive(Args, Clone, Debug, PartialEq)]
#[command(
    group = ArgGroup::new("what").required(true).args(["files", "link"]),
    after_help = "Exit code: 0 if there is no problem, 1 if there is one or the check could not be carried out, 2 on bad \
                  usage."
)]
pub struct CheckConfig {
    /// Manifest to check, with the Secrets and ConfigMaps that lie beside the MigrationLink in it; - for standard input, repeatable
    #[arg(short = 'f', value_name = "FILE")]
    pub files: Vec<PathBuf>,

    /// MigrationLink in the cluster to check
    #[arg(value_name = "NAMESPACE/NAME", value_parser = link_name)]
    pub link: Option<LinkName>,

    /// Form of the output
    #[arg(short = 'o', value_name = "FORM", default_value = "text")]
    pub output: Output,

    /// Scheme, host and port that credentials may be sent to, as the operator has it; repeatable
    #[arg(
        long = "allowed-origin",
        value_name = "URL",
        value_delimiter = ',',
        default_value = "https://cloud.mongodb.com",
        value_parser = origin
    )]
    pub allowed_origins: Vec<Origin>,

    /// Root certificates to trust beside the system's, as the operator has them
    #[arg(long, value_name = "PEM")]
    pub ca_file: Option<PathBuf>,
}

/// The name of a resource in the cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LinkName {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

/// How the findings are printed.
#[derive(ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
pub enum Output {
    /// One line each.
    Text,
    /// One JSON object.
    Json,
}

fn link_name(text: &str) -> Result<LinkName, InvalidValue> {
    let (namespace_text, name) = text.split_once('/').ok_or(InvalidValue::LinkName)?;
    let namespace = namespace(namespace_text)?;
    if name.len() > 253 || !(crate::api::rules::SECRET_NAME.holds)(name) {
        return Err(InvalidValue::LinkName);
    }
    Ok(LinkName { namespace, name: name.to_owned() })
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;

    use super::super::{Invocation, parse};
    use super::*;

    fn parsed(args: &str, env: &[(&str, &str)]) -> Result<CheckConfig, String> {
        let args = ["check"].into_iter().chain(args.split_whitespace()).map(OsString::from);
        let env = |name: &str| env.iter().find(|(key, _)| *key == name).map(|(_, value)| value.into());
        match parse(args, env) {
            Ok(Invocation::Check(config)) => Ok(*config),
            Ok(other) => panic!("{other:?}"),
            Err(error) => Err(error.to_string()),
        }
    }

    fn defaults() -> CheckConfig {
        CheckConfig {
            files: Vec::new(),
            link: None,
            output: Output::Text,
            allowed_origins: vec!["https://cloud.mongodb.com".parse().unwrap()],
            ca_file: None,
        }
    }

    #[test]
    fn a_manifest_or_a_link_is_checked_and_one_of_them_must_be_given() {
        let link = LinkName { namespace: "payments".to_owned(), name: "a.b".to_owned() };
        let of_link = CheckConfig { link: Some(link), ..defaults() };
        assert_eq!(parsed("payments/a.b", &[]).unwrap(), of_link);
        let files = CheckConfig { files: vec!["-".into(), "b.yaml".into()], ..defaults() };
        assert_eq!(parsed("-f - -f b.yaml", &[]).unwrap(), files);
        for (args, words) in [
            ("", "<-f <FILE>|NAMESPACE/NAME>"),
            ("-f a.yaml payments/payments", "cannot be used with"),
            ("payments", "write NAMESPACE/NAME"),
            ("payments/a/b", "write NAMESPACE/NAME"),
            ("Payments/a", "a namespace has at most 63 characters"),
            ("payments/a -o yaml", "[possible values: text, json]"),
            ("payments/a --allowed-origin om", "it is not a URL"),
            ("payments/a --concurrency 1", "unexpected argument"),
        ] {
            let error = parsed(args, &[]).unwrap_err();
            assert!(error.contains(words), "{args}: {error}");
        }
    }

    #[test]
    fn where_credentials_may_go_and_who_is_trusted_come_from_the_operators_variables_as_well() {
        let env = [
            ("MIGRATIONLINK_ALLOWED_ORIGIN", "https://a,https://b"),
            ("MIGRATIONLINK_CA_FILE", "/ca.pem"),
            // These mean nothing here.
            ("MIGRATIONLINK_CONCURRENCY", "many"),
            ("MIGRATIONLINK_OUTPUT", "yaml"),
        ];
        let config = parsed("-f a.yaml -o json", &env).unwrap();
        assert_eq!(
            config,
            CheckConfig {
                files: vec!["a.yaml".into()],
                output: Output::Json,
                allowed_origins: vec!["https://a".parse().unwrap(), "https://b".parse().unwrap()],
                ca_file: Some("/ca.pem".into()),
                link: None,
            }
        );
        let config = parsed("-f a.yaml --allowed-origin https://c", &env).unwrap();
        assert_eq!(config.allowed_origins, ["https://c".parse().unwrap()]);
        let error = parsed("a/a", &[("MIGRATIONLINK_ALLOWED_ORIGIN", "https://u:hunter2@a")]).unwrap_err();
        assert!(error.contains("MIGRATIONLINK_ALLOWED_ORIGIN") && !error.contains("hunter2"), "{error}");
    }
}
