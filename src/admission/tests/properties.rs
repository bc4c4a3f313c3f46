use std::sync::{Arc, Mutex};

use proptest::collection::vec;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::{Answered, deciding, post, review, silent};
use crate::admission::oracle;
use crate::admission::{Limits, Phase, Verdict};

fn run<F: Future>(future: F) -> F::Output {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime").block_on(future)
}

/// Every answer, whatever was asked: a known status, JSON, and never a 5xx for what a client sent.
fn is_well_formed(answer: &Answered) -> bool {
    let known = matches!(answer.status, 200 | 400 | 413);
    known && answer.json().is_object() && answer.header("content-type") == Some("application/json")
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        any::<String>().prop_map(Value::from),
        Just(json!("CREATE")),
        Just(json!("admission.k8s.io/v1")),
        Just(json!("AdmissionReview")),
    ];
    let key = prop_oneof![
        any::<String>(),
        prop::sample::select(vec![
            "apiVersion",
            "kind",
            "request",
            "uid",
            "operation",
            "object",
            "oldObject",
            "userInfo",
            "username",
            "group",
            "dryRun",
            "name",
        ])
        .prop_map(str::to_owned),
    ];
    leaf.prop_recursive(5, 48, 6, move |inner| {
        prop_oneof![
            vec(inner.clone(), 0..5).prop_map(Value::from),
            vec((key.clone(), inner), 0..8).prop_map(|fields| Value::Object(fields.into_iter().collect())),
        ]
    })
}

/// Half of the time a proper envelope whose request holds anything.
fn any_review() -> impl Strategy<Value = Value> {
    let fields = ["uid", "kind", "operation", "object", "userInfo", "dryRun", "name", "resource", "requestKind"];
    let request = vec((prop::sample::select(fields.to_vec()), any_json()), 0..6).prop_map(|changes| {
        let mut request = json!({"uid": "u", "kind": {"kind": "Deployment"}, "operation": "CREATE", "object": {}});
        for (field, value) in changes {
            request[field] = value;
        }
        json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": request})
    });
    prop_oneof![any_json(), request]
}

fn any_patch() -> impl Strategy<Value = Option<Vec<u8>>> {
    let path = prop::sample::select(vec!["", "/", "/a", "/a/b", "/list/0", "/list/-", "/list/9", "/a~1b", "/~", "x"]);
    let operation = (
        prop::sample::select(vec!["add", "remove", "replace", "move", "copy", "test", "conjure"]),
        path.clone(),
        path,
        any_json(),
    )
        .prop_map(|(op, path, from, value)| json!({"op": op, "path": path, "from": from, "value": value}));
    prop_oneof![
        Just(None),
        vec(any::<u8>(), 0..40).prop_map(Some),
        vec(operation, 0..4).prop_map(|all| Some(json!(all).to_string().into_bytes())),
    ]
}

fn any_verdict() -> impl Strategy<Value = Verdict> {
    let texts = || prop_oneof![vec(any::<String>(), 0..6), vec("\\PC{0,400}", 0..40)];
    let audit = || vec((any::<String>(), any::<String>()), 0..4);
    prop_oneof![
        (any_patch(), texts(), audit()).prop_map(|(patch, warnings, audit)| Verdict::Allow { patch, warnings, audit }),
        (any::<u16>(), any::<String>(), texts(), audit()).prop_map(|(code, message, warnings, audit)| {
            Verdict::Deny { code, reason: "Forbidden", message, warnings, audit }
        }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, ..ProptestConfig::default() })]

    #[test]
    fn any_bytes_get_a_well_formed_answer(bytes in vec(any::<u8>(), 0..300), cut in any::<prop::sample::Index>()) {
        run(async {
            let (router, counters) = silent();
            // Also bytes that begin as a review does.
            let mut begun = review("u", "CREATE", &json!({"a": [1, "x"]})).into_bytes();
            begun.truncate(cut.index(begun.len()));
            begun.extend_from_slice(&bytes);
            for body in [bytes, begun] {
                for path in ["/mutate", "/validate"] {
                    prop_assert!(is_well_formed(&post(&router, path, body.clone()).await));
                }
            }
            prop_assert_eq!(counters.panics.get(), 0);
            Ok(())
        })?;
    }

    #[test]
    fn any_json_gets_a_well_formed_answer_and_an_accepted_one_if_it_is_a_review(body in any_review()) {
        run(async {
            let (router, _) = silent();
            for (path, phase) in [("/mutate", Phase::Mutating), ("/validate", Phase::Validating)] {
                let answer = post(&router, path, body.to_string()).await;
                prop_assert!(is_well_formed(&answer));
                if answer.status == 200 {
                    let uid = body["request"]["uid"].as_str().expect("a review has a uid");
                    let object = &body["request"]["object"];
                    prop_assert!(oracle::judge(phase, uid, object, answer.status, &answer.body).is_ok());
                }
            }
            Ok(())
        })?;
    }

    #[test]
    fn whatever_is_decided_the_api_server_takes_the_answer_and_loses_nothing_of_it(
        verdict in any_verdict(),
        uid in "[^\u{0}]{1,20}",
        object in prop_oneof![Just(json!({"a": {"b": 1}, "list": [1, 2]})), Just(Value::Null)],
    ) {
        run(async {
            let kept = Arc::new(Mutex::new(verdict.clone()));
            let (router, _) = deciding(Limits::default(), move |_, _| kept.lock().expect("whole").clone());
            for (path, phase) in [("/mutate", Phase::Mutating), ("/validate", Phase::Validating)] {
                let answer = post(&router, path, review(&uid, "CREATE", &object)).await;
                match oracle::judge(phase, &uid, &object, answer.status, &answer.body) {
                    Ok(taken) => {
                        prop_assert_eq!(taken.denial.is_some(), matches!(verdict, Verdict::Deny { .. }));
                        prop_assert!(taken.losses.is_empty(), "{:?}", taken.losses);
                    }
                    Err(rejected) => prop_assert!(false, "{rejected}"),
                }
            }
            Ok(())
        })?;
    }
}
