use proptest::prelude::*;
use serde_json::json;

use super::*;

fn plain() -> Value {
    json!({
        "metadata": { "name": "web", "annotations": { "sidecloak.dev/inject": "true" } },
        "spec": { "containers": [{ "name": "web", "image": "web:1", "ports": [{ "name": "http", "containerPort": 8080 }] }] },
    })
}

/// With one more annotation.
fn asking(key: &str, value: &str) -> Value {
    let mut pod = plain();
    pod["metadata"]["annotations"][format!("sidecloak.dev/{key}")] = value.into();
    pod
}

fn applied(pod: &Value) -> Value {
    match inject(&Settings::default(), pod) {
        Outcome::Injected(patch) => {
            let mut pod = pod.clone();
            let patch: json_patch::Patch = serde_json::from_value(patch.into()).unwrap();
            json_patch::patch(&mut pod, &patch).unwrap();
            pod
        }
        other => panic!("{other:?}"),
    }
}

#[track_caller]
fn refused(pod: &Value, why: &str) {
    match inject(&Settings::default(), pod) {
        Outcome::Refused(message) => assert!(message.contains(why), "{message}"),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_plain_pod() {
    let pod = applied(&plain());
    let (app, sidecar) = (&pod["spec"]["containers"][0], &pod["spec"]["initContainers"][0]);
    assert_eq!(
        app["ports"],
        json!([
            { "name": "http", "containerPort": 15080 },
            { "containerPort": 8080, "protocol": "TCP", "name": "app-http" },
        ])
    );
    assert_eq!(sidecar["env"][0]["value"], "0.0.0.0:15080");
    assert_eq!(sidecar["env"][1]["value"], "http://127.0.0.1:8080");
    assert_eq!(app["lifecycle"]["preStop"]["sleep"]["seconds"], 5);
    assert_eq!(pod["spec"]["securityContext"]["fsGroup"], 65532);
    assert_eq!(pod["metadata"]["labels"]["sidecloak.dev/injected"], "true");
    assert_eq!(pod["metadata"]["annotations"]["sidecloak.dev/status"], env!("CARGO_PKG_VERSION"));
    assert_eq!(inject(&Settings::default(), &pod), Outcome::Unchanged);
    assert_eq!(check(&Settings::default(), &pod, None), None);
}

#[test]
fn what_a_pod_may_write_is_a_name_or_a_number() {
    for name in ["", "A", "a b", "-a", "a-", "a..b", "a/b", "../x", "a\nb", &"a".repeat(254)] {
        refused(&asking("config", name), "config is no name");
        refused(&asking("secret", name), "secret is no name");
    }
    for port in ["", "0", "65536", "080", "+80", "8080 ", "http", "99999999999999999999"] {
        refused(&asking("port", port), "port is no port number");
    }
    for variable in ["", "1A", "A=B", "A B", "A\n", "A.B"] {
        refused(&asking("port-variable", variable), "port-variable is no name");
    }
    refused(&asking("image", "evil"), "sidecloak.dev/image is no annotation");
    refused(&asking("inject", "yes"), "neither");
    refused(&asking("app-container", "nobody"), "app-container");
    refused(&asking("app-port", "grpc"), "app-port");
    refused(&asking("moved-port", "9000"), "needs sidecloak.dev/port-variable");
    refused(&asking("port", "9902"), "9902 is in use");
    refused(&asking("port", "8080"), "8080 is in use");
    let mut both = asking("port", "9000");
    both["metadata"]["annotations"]["sidecloak.dev/port-variable"] = "PORT".into();
    refused(&both, "cannot be had");
}

#[test]
fn nothing_is_quoted_that_somebody_may_have_chosen() {
    let secret = "hunter2hunter2";
    for key in ["config", "secret", "port", "moved-port", "app-container", "app-port", "port-variable", "inject"] {
        let pod = asking(key, &format!("{secret}!"));
        match inject(&Settings::default(), &pod) {
            Outcome::Refused(message) => assert!(!message.contains(secret), "{message}"),
            other => panic!("{key}: {other:?}"),
        }
    }
}

#[test]
fn a_name_is_shortened_and_stays_one() {
    for (name, expected) in
        [("http", "app-http"), ("abcdefghijklmno", "app-abcdefghijk"), ("abcdefghij-xyz", "app-abcdefghij")]
    {
        let mut pod = plain();
        pod["spec"]["containers"][0]["ports"][0]["name"] = name.into();
        assert_eq!(applied(&pod)["spec"]["containers"][0]["ports"][1]["name"], expected);
    }
    let mut pod = plain();
    pod["spec"]["containers"][0]["ports"] = json!([{ "name": "http", "containerPort": 8080 }, { "name": "app-http", "containerPort": 1, "protocol": "UDP" }]);
    assert_eq!(applied(&pod)["spec"]["containers"][0]["ports"][2]["name"], "app-2");
}

#[test]
fn what_is_checked_after_all_others() {
    let settings = Settings::default();
    let denied = |pod: &Value, old: Option<&Value>| check(&settings, pod, old).unwrap_or_default();
    assert!(denied(&plain(), None).contains("see whether the injector runs"));
    assert!(denied(&asking("port", "9902"), None).contains("9902"));
    let unasked = json!({ "metadata": {}, "spec": { "containers": [{ "name": "web" }] } });
    assert!(denied(&plain(), Some(&unasked)).contains("counts when a pod is created"));
    // What runs already can still be ended.
    assert_eq!(check(&settings, &plain(), Some(&plain())), None);
    let claims = json!({ "metadata": { "labels": { "sidecloak.dev/injected": "" } }, "spec": { "containers": [{ "name": "web" }] } });
    assert!(denied(&claims, None).contains("take it away"));
    let good = applied(&plain());
    let mut debugged = good.clone();
    debugged["spec"]["ephemeralContainers"] = json!([{ "name": "debug", "targetContainerName": "sidecloak" }]);
    assert!(denied(&debugged, Some(&good)).contains("ephemeral"));
    let into = debugged.clone();
    debugged["spec"]["ephemeralContainers"] = json!([{ "name": "debug", "targetContainerName": "web" }]);
    assert_eq!(check(&settings, &debugged, Some(&good)), None);
    // In what is shared there is no other target; and what is there already allows no more of it.
    debugged["spec"]["shareProcessNamespace"] = true.into();
    assert!(denied(&debugged, Some(&good)).contains("ephemeral"));
    assert_eq!(check(&settings, &into, Some(&into)), None);
    let mut further = into.clone();
    further["spec"]["ephemeralContainers"]
        .as_array_mut()
        .unwrap()
        .push(json!({ "name": "another", "volumeMounts": [{ "name": "sidecloak-tmp", "mountPath": "/x" }] }));
    assert!(denied(&further, Some(&into)).contains("ephemeral"));
    // Whoever may change pods alone shall not have the keys, nor open a way past the sidecar.
    let mut swapped = good.clone();
    swapped["spec"]["initContainers"][0]["image"] = "busybox".into();
    assert!(denied(&swapped, Some(&good)).contains("image"));
    assert_eq!(check(&settings, &swapped, None), None);
    for value in [Value::Null, "false".into()] {
        let mut hidden = good.clone();
        match value {
            Value::Null => drop(hidden["metadata"].as_object_mut().unwrap().remove("labels")),
            value => hidden["metadata"]["labels"]["sidecloak.dev/injected"] = value,
        }
        assert!(denied(&hidden, Some(&good)).contains("cannot be taken"));
        assert_eq!(check(&settings, &hidden, Some(&hidden)), None);
    }
}

#[test]
fn what_would_let_others_beside_the_sidecar() {
    let with = |path: &str, value: Value| {
        let mut pod = plain();
        pod["spec"][path] = value;
        pod
    };
    refused(&with("shareProcessNamespace", true.into()), "shares its processes");
    refused(&with("hostPID", true.into()), "shares its processes");
    assert!(matches!(inject(&Settings::default(), &with("hostPID", false.into())), Outcome::Injected(_)));
    for volume in ["sidecloak-secret", "sidecloak-config", "sidecloak-tmp"] {
        let mounts = json!([{ "name": "c", "volumeMounts": [{ "name": volume, "mountPath": "/x" }] }]);
        refused(&with("initContainers", mounts.clone()), "take the mount away");
        let mut pod = plain();
        pod["spec"]["containers"][0]["volumeMounts"] = mounts[0]["volumeMounts"].clone();
        refused(&pod, "take the mount away");
    }
    // By the other name a Service would go past it; where the number is the sidecar's, both lead to it.
    let twice = json!([{ "name": "http", "containerPort": 8080 }, { "name": "web", "containerPort": 8080 }]);
    let mut pod = asking("app-port", "http");
    pod["spec"]["containers"][0]["ports"] = twice.clone();
    refused(&pod, "port 8080 is declared twice");
    pod["metadata"]["annotations"]["sidecloak.dev/app-port"] = "8080".into();
    refused(&pod, "port 8080 is declared twice");
    pod["metadata"]["annotations"]["sidecloak.dev/port-variable"] = "PORT".into();
    assert_eq!(applied(&pod)["spec"]["containers"][0]["ports"][0]["containerPort"], 8080);
    let mut pod = plain();
    pod["spec"]["containers"].as_array_mut().unwrap().push(json!({ "name": "other", "ports": [twice[1]] }));
    refused(&pod, "port 8080 is declared twice");
}

fn port() -> impl Strategy<Value = Value> {
    let name = prop_oneof![Just(None), "[a-z][a-z0-9]{0,13}[a-z]".prop_map(Some)];
    (name, 1u16.., prop::sample::select(vec!["TCP", "TCP", "TCP", "UDP"])).prop_map(|(name, number, protocol)| {
        let mut port = json!({ "containerPort": number, "protocol": protocol });
        if let Some(name) = name {
            port["name"] = name.into();
        }
        port
    })
}

fn container(name: String) -> impl Strategy<Value = Value> {
    let handler = prop_oneof![
        Just(json!({ "exec": { "command": ["true"] } })),
        (1u16..).prop_map(|n| json!({ "httpGet": { "path": "/", "port": n } })),
        "[a-z]{1,4}".prop_map(|n| json!({ "tcpSocket": { "port": n } })),
    ];
    let env = ("[A-Z]{1,4}", ".{0,8}").prop_map(|(name, value)| json!({ "name": name, "value": value }));
    let optional = |values: BoxedStrategy<Value>| prop::option::of(values);
    (
        optional(prop::collection::vec(port(), 0..4).prop_map(Value::from).boxed()),
        optional(prop::collection::vec(env, 0..3).prop_map(Value::from).boxed()),
        optional(handler.clone().boxed()),
        optional(handler.prop_map(|hook| json!({ "postStart": hook })).boxed()),
    )
        .prop_map(move |(ports, env, probe, lifecycle)| {
            let mut container = json!({ "name": name, "image": "x" });
            for (key, value) in [("ports", ports), ("env", env), ("readinessProbe", probe), ("lifecycle", lifecycle)] {
                if let Some(value) = value {
                    container[key] = value;
                }
            }
            container
        })
}

fn pod() -> impl Strategy<Value = Value> {
    let containers = (1usize..4).prop_flat_map(|n| (0..n).map(|i| container(format!("c{i}"))).collect::<Vec<_>>());
    let annotations = prop::collection::btree_map(
        prop::sample::select(vec!["port", "moved-port", "app-container", "app-port", "port-variable", "config"]),
        prop::sample::select(vec!["8080", "80", "PORT", "c0", "c1", "http", "A"]),
        0..3,
    );
    let init = prop::option::of(container("i".into()).prop_map(|c| json!([c])));
    (containers, annotations, init, prop::option::of("[a-z/~ ]{1,8}")).prop_map(
        |(containers, annotations, init, label)| {
            let mut pod = plain();
            pod["spec"]["containers"] = containers.into();
            for (key, value) in annotations {
                pod["metadata"]["annotations"][format!("sidecloak.dev/{key}")] = value.into();
            }
            if let Some(init) = init {
                pod["spec"]["initContainers"] = init;
            }
            if let Some(label) = label {
                pod["metadata"]["labels"] = json!({ label: "x" });
            }
            pod
        },
    )
}

/// Takes away what an injection may add, so that what is left can be compared.
fn without_ours(mut pod: Value, app: usize) -> Value {
    let spec = &mut pod["spec"];
    for key in ["initContainers", "volumes"] {
        if let Some(list) = spec.get_mut(key).and_then(Value::as_array_mut) {
            list.retain(|entry| !entry["name"].as_str().unwrap().starts_with("sidecloak"));
            if list.is_empty() {
                spec.as_object_mut().unwrap().remove(key);
            }
        }
    }
    spec.as_object_mut().unwrap().remove("securityContext");
    for key in ["ports", "env", "lifecycle", "readinessProbe"] {
        spec["containers"][app].as_object_mut().unwrap().remove(key);
    }
    let metadata = pod["metadata"].as_object_mut().unwrap();
    metadata["annotations"].as_object_mut().unwrap().remove("sidecloak.dev/status");
    if let Some(labels) = metadata.get_mut("labels").and_then(Value::as_object_mut) {
        labels.remove("sidecloak.dev/injected");
        if labels.is_empty() {
            metadata.remove("labels");
        }
    }
    pod
}

proptest! {
    #[test]
    fn a_patch_applies_once_and_touches_the_application_alone(pod in pod()) {
        match inject(&Settings::default(), &pod) {
            Outcome::Unchanged => prop_assert!(false, "it asks for a sidecar"),
            Outcome::Refused(message) => {
                prop_assert!(message.contains(';'), "the way out: {message}");
                prop_assert_eq!(check(&Settings::default(), &pod, None), Some(message));
            }
            Outcome::Injected(_) => {
                let after = applied(&pod);
                prop_assert_eq!(inject(&Settings::default(), &after), Outcome::Unchanged);
                prop_assert_eq!(check(&Settings::default(), &after, None), None);
                let asked = pod["metadata"]["annotations"]["sidecloak.dev/app-container"].as_str();
                let containers = pod["spec"]["containers"].as_array().unwrap();
                let app = asked.map_or(0, |name| containers.iter().position(|c| c["name"] == name).unwrap());
                prop_assert_eq!(without_ours(after.clone(), app), without_ours(pod.clone(), app));
                // Every port that was there is there, under its name; where it moved, the sidecar listens.
                let (old, new) = (&pod["spec"]["containers"][app]["ports"], &after["spec"]["containers"][app]["ports"]);
                prop_assert_eq!(old.as_array().unwrap().len() + 1, new.as_array().unwrap().len());
                for (old, new) in old.as_array().unwrap().iter().zip(new.as_array().unwrap()) {
                    prop_assert_eq!(&old["name"], &new["name"]);
                    prop_assert!(old == new || new["containerPort"] == 15080 || pod["metadata"]["annotations"].get("sidecloak.dev/port").is_some());
                }
            }
        }
    }

    #[test]
    fn no_document_brings_it_down(text in "[\\[\\]{}\",:0-9a-z ]{0,64}", key in "[a-z]{1,12}") {
        let garbage: Value = serde_json::from_str(&text).unwrap_or(Value::Null);
        let mut pod = plain();
        for path in ["spec", "metadata"] {
            let mut changed = pod.clone();
            changed[path][&key] = garbage.clone();
            drop((inject(&Settings::default(), &changed), check(&Settings::default(), &changed, None)));
        }
        for key in ["ports", "env", "lifecycle", "readinessProbe", "name"] {
            pod["spec"]["containers"][0][key] = garbage.clone();
            drop(inject(&Settings::default(), &pod));
        }
        drop((inject(&Settings::default(), &garbage), check(&Settings::default(), &garbage, Some(&garbage))));
    }
}
