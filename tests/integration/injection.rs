//! `sidecloak injector` as a process of its own, called as an API server calls it; and the admission policies beside it, over the same pods.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use json_patch::Patch;
use rustix::process::Signal;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use serde_json::{Value, json};
use sidecloak::config::{self, Machine, Overrides, Purpose};
use sidecloak::crypto::base64;
use sidecloak::injector::{Outcome, Settings, inject};
use sidecloak::rules::compile::{Context, load_text};
use sidecloak::tls::{ClientTls, client};

use crate::cli::Place;
use crate::cli::process::Running;
use crate::pki::{Ca, Mounted, Secure};
use crate::support::{Client, Message};
use crate::tools::{Process, installed, read, repository};

/// A running injector, and how to reach it.
struct Hook {
    place: Place,
    process: Running,
    trusting: Arc<ClientConfig>,
}

impl Hook {
    fn start(more: &[&str]) -> Self {
        let (place, ca) = (Place::empty(), Ca::new("webhook"));
        ca.server().write(&place.path(""), "tls");
        place.write("ca.pem", ca.pem());
        let args = [&["injector", "--tls-cert", "tls.crt", "--tls-key", "tls.key"], more].concat();
        let process = Running::command(&place, &args);
        let trusting = trusting(&place, "ca.pem", None);
        Self { place, process, trusting }
    }

    fn call(&self, path: &str, body: &str) -> Message {
        call(&mut Secure::connect(self.process.front, &self.trusting), path, body)
    }

    fn review(&self, path: &str, request: &Value) -> Value {
        let answer = self.call(path, &review(request).to_string());
        assert_eq!(answer.status(), 200, "{}", answer.text());
        let answer: Value = serde_json::from_str(&answer.text()).unwrap();
        assert_eq!(answer["response"]["uid"], request["uid"]);
        assert_eq!(
            (&answer["kind"], &answer["apiVersion"]),
            (&json!("AdmissionReview"), &json!("admission.k8s.io/v1"))
        );
        answer["response"].clone()
    }

    fn metric(&self, name: &str) -> f64 {
        let text = Client::tcp(self.process.probe).get("/metrics").text();
        let line = text.lines().find_map(|line| line.strip_prefix(name));
        line.map_or(0.0, |rest| rest.split_whitespace().last().unwrap().parse().unwrap())
    }

    fn log(&self) -> String {
        self.process.log.lock().unwrap().clone()
    }
}

fn trusting(place: &Place, ca: &str, identity: Option<(std::path::PathBuf, std::path::PathBuf)>) -> Arc<ClientConfig> {
    client::config(&ClientTls { ca: Some(place.path(ca)), identity, pq_only: false }).unwrap()
}

fn call(connection: &mut Secure, path: &str, body: &str) -> Message {
    connection.call("POST", path, &[("content-type", "application/json")], body).expect("an answer")
}

fn review(request: &Value) -> Value {
    json!({ "apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": request })
}

/// As an API server asks of a pod that is created.
fn creation(pod: &Value) -> Value {
    json!({
        "uid": "705ab4f5-6393-11e8-b7cc-42010a800002",
        "kind": { "group": "", "version": "v1", "kind": "Pod" },
        "resource": { "group": "", "version": "v1", "resource": "pods" },
        "requestKind": { "group": "", "version": "v1", "kind": "Pod" },
        "requestResource": { "group": "", "version": "v1", "resource": "pods" },
        "name": pod["metadata"]["name"].as_str().unwrap_or_default(),
        "namespace": "shop",
        "operation": "CREATE",
        "userInfo": { "username": "system:serviceaccount:kube-system:replicaset-controller", "groups": ["system:authenticated"] },
        "object": pod,
        "oldObject": null,
        "dryRun": false,
        "options": { "kind": "CreateOptions", "apiVersion": "meta.k8s.io/v1" },
    })
}

fn web() -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": { "name": "web", "annotations": { "sidecloak.dev/inject": "true" } },
        "spec": { "containers": [{
            "name": "web", "image": "web",
            "env": [{ "name": "PASSWORD", "value": "hunter2hunter2" }],
            "ports": [{ "name": "http", "containerPort": 8080 }],
        }] },
    })
}

/// The pod with the answer's patch, if it has one.
fn patched(pod: &Value, response: &Value) -> Value {
    let mut pod = pod.clone();
    if let Some(patch) = response["patch"].as_str() {
        assert_eq!(response["patchType"], "JSONPatch");
        let patch: Patch = serde_json::from_slice(&base64::decode(patch.as_bytes(), 1 << 20).unwrap()).unwrap();
        json_patch::patch(&mut pod, &patch).unwrap();
    }
    pod
}

/// The pods of tests/deploy/injection/pods, by name, with what is expected of them.
fn corpus() -> Vec<(String, Value)> {
    let folder = repository().join("tests/deploy/injection/pods");
    let mut files: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    let parse = |path: &Path| serde_saphyr::from_str(&String::from_utf8(read(path)).unwrap()).unwrap();
    files.iter().map(|path| (path.file_stem().unwrap().to_string_lossy().into_owned(), parse(path))).collect()
}

/// What becomes of each pod of the corpus, twice; and what `/validate` says of it in the end.
fn through_the_webhook(hook: &Hook) -> Value {
    let mut results = json!({});
    for (name, case) in corpus() {
        let pod = &case["pod"];
        let response = hook.review("/mutate", &creation(pod));
        let after = patched(pod, &response);
        let outcome = match (&response["allowed"], response.get("patch")) {
            (Value::Bool(false), _) => "refused",
            (_, Some(_)) => "injected",
            (_, None) => "unchanged",
        };
        assert_eq!(outcome, case["expect"], "{name}: {response}");
        let again = hook.review("/mutate", &creation(&after));
        let message = response["status"]["message"].as_str().unwrap_or_default();
        let message = message.strip_prefix("Sidecloak: ").unwrap_or_default();
        let checked = hook.review("/validate", &creation(&after));
        if outcome == "refused" {
            assert!(message.contains(case["says"].as_str().unwrap()) && message.contains(';'), "{name}: {message}");
            assert_eq!(response["status"]["code"], 422);
            assert_eq!(checked["status"]["message"], response["status"]["message"], "{name}");
        } else {
            assert!(again["allowed"] == true && again.get("patch").is_none(), "{name}: {again}");
            assert_eq!(checked["allowed"], true, "{name}: {checked}");
        }
        results[name] =
            json!({ "outcome": outcome, "pod": after, "again": patched(&after, &again), "message": message });
    }
    results
}

#[test]
fn webhook_and_policy_do_the_same_to_pods() {
    let hook = Hook::start(&[]);
    let results = through_the_webhook(&hook);
    assert!(results.as_object().unwrap().len() >= 30);
    hook.place.write("results.json", results.to_string());
    let (Some(venv), Some(tools)) = (
        installed("kubernetes", "tests/deploy/kubernetes/requirements.txt"),
        installed("helm", "tests/deploy/kubernetes/package.json"),
    ) else {
        return;
    };
    let injection = repository().join("deploy/kubernetes/injection");
    let mut rendered = Vec::new();
    for overlay in ["policy/v1", "policy/v1beta1", "policy/v1alpha1", "webhook/cert-manager", "webhook/base"] {
        let manifests =
            Process::start(Command::new(tools.join("kubectl")).arg("kustomize").arg(injection.join(overlay)));
        let (done, out, complaints) = manifests.finish();
        assert!(done, "{overlay}: {complaints}");
        let name = format!("{}.yaml", overlay.replace('/', "-"));
        hook.place.write(&name, out);
        rendered.push(hook.place.path(&name));
    }
    let mut compare = Command::new(venv.join("venv/bin/python"));
    compare.arg(repository().join("tests/deploy/injection/policies.py")).arg(repository());
    let (done, out, complaints) =
        Process::start(compare.arg(hook.place.path("results.json")).args(rendered).env("PYTHONDONTWRITEBYTECODE", "1"))
            .finish();
    assert!(done, "{out}{complaints}");
}

/// The ConfigMap of the README, with what the injector tells the sidecar.
#[test]
fn the_configuration_that_is_shown_runs_as_it_is_injected() {
    let text = String::from_utf8(read(&repository().join("deploy/kubernetes/injection/README.md"))).unwrap();
    let block = text.split("    apiVersion: v1\n    kind: ConfigMap\n").nth(1).unwrap();
    let block: String =
        block.lines().take_while(|line| line.starts_with("    ")).map(|line| format!("{}\n", &line[4..])).collect();
    let map: Value = serde_saphyr::from_str(&block).unwrap();
    let pod = match inject(&Settings::default(), &web()) {
        Outcome::Injected(patch) => patch.last().unwrap()["value"].clone(),
        other => panic!("{other:?}"),
    };
    let told = |name: &str| {
        let entry = pod["env"].as_array().unwrap().iter().find(|entry| entry["name"] == name).unwrap();
        entry["value"].as_str().unwrap().to_owned()
    };
    let flags = Overrides {
        listen: vec![told("SIDECLOAK_LISTEN")],
        upstream: vec![told("SIDECLOAK_UPSTREAM")],
        probe: Some(told("SIDECLOAK_PROBE")),
        ..Overrides::default()
    };
    let file = map["data"]["sidecloak.yaml"].as_str().unwrap();
    let machine = Machine { memory: 1 << 30, cpus: 2 };
    let loaded = config::load_text("sidecloak.yaml", file, &flags, Purpose::Proxy, machine);
    assert!(loaded.config.is_some() && loaded.findings.0.is_empty(), "{}", loaded.findings);
    let rules = load_text("rules.yaml", map["data"]["rules.yaml"].as_str().unwrap(), &Context::default());
    assert!(rules.rules.is_some(), "{}", rules.findings);
}

#[test]
fn an_update_is_judged_by_what_it_brings() {
    let hook = Hook::start(&[]);
    let update = |pod: &Value, old: &Value, sub: &str| {
        let mut request = creation(pod);
        request["operation"] = "UPDATE".into();
        request["oldObject"] = old.clone();
        request["subResource"] = sub.into();
        assert!(
            hook.review("/mutate", &request).get("patch").is_none(),
            "a pod's containers cannot be changed any more"
        );
        hook.review("/validate", &request)["status"]["message"].as_str().unwrap_or_default().to_owned()
    };
    let mut plain = web();
    plain["metadata"].as_object_mut().unwrap().remove("annotations");
    let good = patched(&web(), &hook.review("/mutate", &creation(&web())));
    assert!(update(&web(), &plain, "").contains("counts when a pod is created"));
    assert_eq!(update(&web(), &web(), ""), "");
    let mut claims = plain.clone();
    claims["metadata"]["labels"] = json!({ "sidecloak.dev/injected": "true" });
    assert!(update(&claims, &plain, "").contains("take it away"));
    let mut debugged = good.clone();
    debugged["spec"]["ephemeralContainers"] = json!([{ "name": "debug", "targetContainerName": "sidecloak" }]);
    assert!(update(&debugged, &good, "ephemeralcontainers").contains("ephemeral"));
    let (mut swapped, mut hidden) = (good.clone(), good.clone());
    swapped["spec"]["initContainers"][0]["image"] = "busybox".into();
    assert!(update(&swapped, &good, "").contains("image cannot be changed"));
    hidden["metadata"].as_object_mut().unwrap().remove("labels");
    assert!(update(&hidden, &good, "").contains("cannot be taken"));
    assert_eq!(update(&good, &good, ""), "");
}

#[test]
fn settings_reach_the_sidecar_and_namespaces_are_left_alone() {
    let flags = [
        "--image=registry.test/sidecloak@sha256:0123",
        "--config-map=all",
        "--secret=keys",
        "--sidecar-port=9000",
        "--memory-limit=1Gi",
        "--namespace=own",
        "--exclude-namespace=a,b",
    ];
    let hook = Hook::start(&flags);
    let pod = patched(&web(), &hook.review("/mutate", &creation(&web())));
    let (sidecar, volumes) = (&pod["spec"]["initContainers"][0], &pod["spec"]["volumes"]);
    assert_eq!(sidecar["image"], "registry.test/sidecloak@sha256:0123");
    assert_eq!(sidecar["env"][0]["value"], "0.0.0.0:9000");
    assert_eq!(sidecar["resources"]["limits"]["memory"], "1Gi");
    assert_eq!(
        (&volumes[0]["configMap"]["name"], &volumes[1]["projected"]["sources"][0]["secret"]["name"]),
        (&json!("all"), &json!("keys"))
    );
    for namespace in ["own", "a", "b", "kube-system", "kube-public", "kube-node-lease"] {
        let mut request = creation(&web());
        request["namespace"] = namespace.into();
        for path in ["/mutate", "/validate"] {
            let response = hook.review(path, &request);
            assert!(response["allowed"] == true && response.get("patch").is_none(), "{namespace}: {response}");
        }
    }
}

#[test]
fn it_counts_and_tells_names_alone() {
    let mut hook = Hook::start(&[]);
    let mut wrong = web();
    wrong["metadata"]["annotations"]["sidecloak.dev/port"] = "hunter2hunter2".into();
    hook.review("/mutate", &creation(&web()));
    hook.review("/mutate", &creation(&wrong));
    let mut dry = creation(&web());
    dry["dryRun"] = true.into();
    assert_eq!(hook.review("/mutate", &dry)["patchType"], "JSONPatch");
    let mut made = web();
    made["metadata"]["generateName"] = "made-".into();
    made["metadata"].as_object_mut().unwrap().remove("name");
    hook.review("/mutate", &creation(&made));
    assert_eq!(hook.metric(r#"sidecloak_injections_total{outcome="injected"}"#), 2.0, "a dry run is none");
    assert_eq!(hook.metric(r#"sidecloak_injections_total{outcome="refused"}"#), 1.0);
    assert!(hook.metric(r#"sidecloak_tls_certificate_expiry_seconds{listener="injector"}"#) > 0.0);
    hook.process.eventually("logged", |process| process.log.lock().unwrap().contains("made-"));
    let log = hook.log();
    assert!(
        log.contains(r#""namespace":"shop""#)
            && log.contains(r#""pod":"web""#)
            && log.contains(r#""outcome":"refused""#),
        "{log}"
    );
    assert!(!log.contains("hunter2") && !log.contains("PASSWORD"), "{log}");
}

#[test]
fn what_is_no_review_is_told_so() {
    let mut hook = Hook::start(&[]);
    let good = review(&creation(&web()));
    let with = |path: &str, value: Value| {
        let mut review = good.clone();
        *review.pointer_mut(path).unwrap() = value;
        review.to_string()
    };
    let mut no_request = good.clone();
    no_request.as_object_mut().unwrap().remove("request");
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    for (body, why) in [
        ("hunter2".to_owned(), "no AdmissionReview"),
        ("[]".to_owned(), "no AdmissionReview"),
        ("{}".to_owned(), "not of admission.k8s.io/v1"),
        (deep, "no AdmissionReview"),
        (with("/apiVersion", "admission.k8s.io/v1beta1".into()), "not of admission.k8s.io/v1"),
        (with("/kind", "Pod".into()), "not of admission.k8s.io/v1"),
        (no_request.to_string(), "has no request"),
        (with("/request/uid", "".into()), "no uid"),
        (with("/request/uid", "x".repeat(1000).into()), "no uid"),
        (with("/request/kind/kind", "Deployment".into()), "no v1 Pod"),
        (with("/request/kind/group", "apps".into()), "no v1 Pod"),
        (with("/request/kind/version", "v2".into()), "no v1 Pod"),
        (with("/request/object", Value::Null), "has no object"),
        (with("/request/object", json!(["hunter2"])), "has no object"),
    ] {
        for path in ["/mutate", "/validate"] {
            let answer = hook.call(path, &body);
            assert!(
                answer.status() == 400 && answer.text().contains(why),
                "{path} {why}: {} {}",
                answer.status(),
                answer.text()
            );
            assert!(!answer.text().contains("hunter2"));
        }
    }
    let connection = || Secure::connect(hook.process.front, &hook.trusting);
    let text = good.to_string();
    for kind in ["text/plain", "application/jsonx", ""] {
        let answer = connection().call("POST", "/mutate", &[("content-type", kind)], &text).unwrap();
        assert_eq!(answer.status(), 415, "{kind}");
    }
    let with_charset = [("content-type", "application/json; charset=utf-8")];
    assert_eq!(connection().call("POST", "/mutate", &with_charset, &text).unwrap().status(), 200);
    assert_eq!(connection().call("GET", "/mutate", &[], "").unwrap().status(), 405);
    for nowhere in ["/", "/mutate/", "/openapi.json", "/metrics"] {
        assert_eq!(connection().call("GET", nowhere, &[], "").unwrap().status(), 404, "{nowhere}");
    }
    // As long as may be, and a byte more.
    let padded = |size: usize| format!("{}{}", text, " ".repeat(size - text.len()));
    assert_eq!(hook.call("/mutate", &padded(3 << 20)).status(), 200);
    let answer = hook.call("/mutate", &padded((3 << 20) + 1));
    assert!(answer.status() == 413 && answer.text().contains("3 MiB"), "{}", answer.text());
    assert!(hook.process.is_ready() && !hook.log().contains("hunter2"));
    hook.process.eventually("counted", |_| true);
    assert_eq!(hook.metric(r#"sidecloak_requests_total{listener="injector",status="5xx"}"#), 0.0);
}

#[test]
fn a_certificate_is_replaced_under_load_without_a_failed_review() {
    let (place, old, new) = (Place::empty(), Ca::new("old"), Ca::new("new"));
    let mut mounted = Mounted::new(&place.path("mounted"), &old.server());
    place.write("both.pem", old.pem() + &new.pem()).write("new.pem", new.pem());
    let (both, only_new) = (trusting(&place, "both.pem", None), trusting(&place, "new.pem", None));
    let args = ["injector", "--tls-cert", "mounted/tls.crt", "--tls-key", "mounted/tls.key"];
    let mut process = Running::command(&place, &args);
    let front = process.front;
    let (stop, calls) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let load: Vec<_> = [1, 500]
        .into_iter()
        .map(|per_connection| {
            let (stop, calls, both) = (Arc::clone(&stop), Arc::clone(&calls), Arc::clone(&both));
            let body = review(&creation(&web())).to_string();
            std::thread::spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    let mut connection = Secure::connect(front, &both);
                    for _ in 0..per_connection {
                        assert!(call(&mut connection, "/mutate", &body).text().contains("JSONPatch"));
                        calls.fetch_add(1, Ordering::Relaxed);
                    }
                }
            })
        })
        .collect();
    for _ in 0..2 {
        mounted.swap(&new.server());
        process.eventually("the new one", |_| Secure::connect(front, &only_new).get("/").is_some());
        mounted.swap(&old.server());
        process.eventually("the old one", |_| Secure::connect(front, &only_new).get("/").is_none());
    }
    process.eventually("under load", |_| {
        calls.load(Ordering::Relaxed) > 10 || load.iter().any(std::thread::JoinHandle::is_finished)
    });
    stop.store(true, Ordering::Relaxed);
    for thread in load {
        thread.join().expect("no call failed");
    }
}

#[test]
fn with_a_client_authority_nobody_else_is_let_in() {
    let (place, servers, clients) = (Place::empty(), Ca::new("webhook"), Ca::new("api-servers"));
    servers.server().write(&place.path(""), "tls");
    place.write("ca.pem", servers.pem()).write("clients.pem", clients.pem());
    let args = ["injector", "--tls-cert", "tls.crt", "--tls-key", "tls.key", "--client-ca", "clients.pem"];
    let process = Running::command(&place, &args);
    let body = review(&creation(&web())).to_string();
    let status = |identity| {
        let config = trusting(&place, "ca.pem", identity);
        let kind = [("content-type", "application/json")];
        Secure::connect(process.front, &config).call("POST", "/mutate", &kind, &body).map(|answer| answer.status())
    };
    let server = clients.client("urn:kube-apiserver").write(&place.path(""), "api");
    assert_eq!(status(Some(server)), Some(200));
    assert_eq!(status(None), None);
    assert_eq!(status(Some(Ca::new("others").client("urn:kube-apiserver").write(&place.path(""), "other"))), None);
}

/// What `certificate.sh` makes is what an API server asks for: the Service's name, by the authority that is written into the webhook.
#[test]
fn a_certificate_by_hand() {
    let (place, name) = (Place::empty(), "certificate.sh");
    place.write(name, read(&repository().join("deploy/kubernetes/injection/webhook/by-hand").join(name)));
    let made = Process::start(Command::new("sh").arg(place.path(name))).finish();
    assert!(made.0, "{}{}", made.1, made.2);
    let patch: Value = serde_saphyr::from_str(&place.read("caBundle.yaml")).unwrap();
    assert_eq!(patch[0]["path"], "/webhooks/0/clientConfig/caBundle");
    place.write("ca.pem", base64::decode(patch[0]["value"].as_str().unwrap().as_bytes(), 1 << 16).unwrap());
    assert_eq!(place.mode("tls.key") & 0o077, 0);
    let process = Running::command(&place, &["injector", "--tls-cert", "tls.crt", "--tls-key", "tls.key"]);
    let service = ServerName::try_from("sidecloak-injector.sidecloak-system.svc").unwrap();
    let mut connection = Secure::to(process.front, service, &trusting(&place, "ca.pem", None)).unwrap();
    assert_eq!(call(&mut connection, "/mutate", &review(&creation(&web())).to_string()).status(), 200);
}

#[test]
fn it_drains_and_ends() {
    let mut hook = Hook::start(&[]);
    let mut kept = Secure::connect(hook.process.front, &hook.trusting);
    let body = review(&creation(&web())).to_string();
    assert_eq!(call(&mut kept, "/mutate", &body).status(), 200);
    assert_eq!(Client::tcp(hook.process.probe).get("/livez").status(), 200);
    hook.process.signal(Signal::TERM);
    hook.process.eventually("not ready", |p| Client::tcp(p.probe).get("/readyz").status() == 503);
    // The API server may not have heard of it yet.
    assert_eq!(call(&mut kept, "/mutate", &body).status(), 200);
    assert_eq!(hook.call("/mutate", &body).status(), 200);
    let (code, log) = hook.process.end();
    assert!(code == Some(0) && log.contains("draining") && log.contains("stopped"), "{log}");
}

#[test]
fn what_it_refuses_to_start_with() {
    let place = Place::empty();
    Ca::new("webhook").server().write(&place.path(""), "tls");
    let tls = ["injector", "--tls-cert", "tls.crt", "--tls-key", "tls.key", "--listen", "127.0.0.1:0"];
    let run = |more: &[&str]| place.run(&[&tls, more].concat());
    place.run(&["injector"]).ends(64).says("--tls-cert");
    place
        .run(&["injector", "--tls-cert", "tls.crt", "--tls-key", "no.key", "--listen", "127.0.0.1:0"])
        .ends(77)
        .says("no.key");
    for (flag, value) in [
        ("--listen", "localhost:1"),
        ("--sidecar-port", "0"),
        ("--image", ""),
        ("--image", "a b"),
        ("--config-map", "A"),
        ("--secret", "a/b"),
        ("--cpu-request", "much"),
        ("--memory-request", "1 Gi"),
        ("--memory-limit", ""),
    ] {
        run(&[&format!("{flag}={value}")]).ends(64).says(flag);
    }
    run(&["--client-ca", "none.pem"]).ends(77).says("none.pem");
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    run(&["--probe", &address]).ends(69).says(&address);
    place
        .run(&["injector", "--tls-cert", "tls.crt", "--tls-key", "tls.key", "--listen", &address])
        .ends(69)
        .says("injector");
}
