//! What becomes of a deleted and of a lost link: two policies, each with a default.

use serde_json::{Value, json};

use super::{causes, create, try_create, try_edit};
use crate::support::Tenant;

#[tokio::test]
async fn a_policy_is_one_of_two_words_and_can_be_changed() {
    let tenant = Tenant::new().await;
    create(&tenant, "link", &json!({})).await;
    for (field, words) in [("deletionPolicy", ["Retain", "Delete"]), ("driftPolicy", ["Relink", "Report"])] {
        for word in words {
            let fields = json!({field: word});
            assert_eq!(try_create(&tenant, &fields).await.unwrap().data["spec"][field], word);
            assert_eq!(try_edit(&tenant, "link", &fields).await.unwrap().data["spec"][field], word);
        }
        // Taken out, the default comes in its place.
        create(&tenant, &field.to_lowercase(), &json!({field: words[1]})).await;
        let without = try_edit(&tenant, &field.to_lowercase(), &json!({field: null})).await.unwrap();
        assert_eq!(without.data["spec"][field], words[0]);
        let path = format!("spec.{field}");
        for bad in ["", "retain", "DELETE", "Orphan", " Delete", "Delete\n"] {
            let fields = json!({field: bad});
            for refused in [try_create(&tenant, &fields).await, try_edit(&tenant, "link", &fields).await] {
                let causes = causes(refused);
                let (first, rest) = causes.split_first().unwrap_or_else(|| panic!("{fields} is accepted"));
                assert_eq!(first.0, path, "{fields}");
                let supported = format!("supported values: \"{}\", \"{}\"", words[0], words[1]);
                assert!(first.1.ends_with(&supported), "{fields}: {first:?}");
                assert!(rest.iter().all(|(_, what)| what.contains("rules were not checked")), "{rest:?}");
            }
        }
        let number: Value = json!({field: 1});
        let causes = causes(try_create(&tenant, &number).await);
        assert!(causes.iter().any(|(of, what)| *of == path && what.contains("type string")), "{causes:?}");
    }
}
