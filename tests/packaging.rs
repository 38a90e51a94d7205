//! What is installed: definitions, chart, plain manifests. No cluster is needed, only Helm.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests may")]

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use serde_json::{Value, json};

const EVERYTHING: &str = "--values=tests/golden/everything.values.yaml";

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: impl AsRef<Path>) -> String {
    let path = root().join(path);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The Helm that `tests/run` names, else the one that was built for the local cluster.
fn helm(args: &[&str]) -> Output {
    let path = std::env::var_os("FARSHORE_HELM").map_or_else(
        || {
            let printed = Command::new(root().join("dev/build")).args(["--path", "helm"]).output().unwrap();
            PathBuf::from(String::from_utf8(printed.stdout).unwrap().trim()).join("helm")
        },
        PathBuf::from,
    );
    Command::new(&path)
        .current_dir(root())
        .args(args)
        .output()
        .unwrap_or_else(|error| panic!("{}: {error}: `make test` sets FARSHORE_HELM", path.display()))
}

fn template(more: &[&str]) -> Output {
    let args =
        ["template", "farshore", "charts/farshore", "--namespace=farshore-system", "--kube-version=1.34.4"];
    helm(&[&args[..], more].concat())
}

fn rendered(more: &[&str]) -> String {
    let output = template(more);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

fn objects(text: &str) -> Vec<Value> {
    let documents = serde_yaml_ng::Deserializer::from_str(text);
    let all = documents.map(|document| <Value as serde::Deserialize>::deserialize(document).unwrap());
    all.filter(|object| !object.is_null()).collect()
}

fn name(object: &Value) -> String {
    format!("{} {}", object["kind"].as_str().unwrap(), object["metadata"]["name"].as_str().unwrap())
}

// ---- the chart

#[test]
fn p01_helm_finds_nothing_to_complain_about() {
    for more in [&[][..], &[EVERYTHING][..]] {
        let output =
            helm(&[&["lint", "--strict", "--kube-version=1.34.4", "charts/farshore"][..], more].concat());
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    }
}

#[test]
fn p01_values_that_make_no_sense_are_refused_by_name() {
    for (value, words) in [
        ("--set=nonsense=1", "'nonsense' not allowed"),
        ("--set=image.tga=v1", "'tga' not allowed"),
        ("--set=policies.enable=true", "'enable' not allowed"),
        ("--set=replicas=-1", "/replicas"),
        ("--set=replicas=11", "/replicas"),
        ("--set=replicas=two", "/replicas"),
        ("--set=image.repository=", "/image/repository"),
        ("--set=image.pullPolicy=Sometimes", "/image/pullPolicy"),
        ("--set=regions=cn-east-1", "/regions"),
        ("--set=policies.enabled=maybe", "/policies/enabled"),
        ("--set=metrics.serviceMonitor.interval=often", "/metrics/serviceMonitor/interval"),
    ] {
        let output = template(&[value]);
        let told = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && told.contains(words), "{value}: {told}");
    }
}

#[test]
fn p01_the_values_schema_knows_every_value() {
    let values: Value = serde_yaml_ng::from_str(&read("charts/farshore/values.yaml")).unwrap();
    let schema: Value = serde_json::from_str(&read("charts/farshore/values.schema.json")).unwrap();
    let keys = |object: &Value| object.as_object().unwrap().keys().cloned().collect::<BTreeSet<_>>();
    let mut known = keys(&schema["properties"]);
    assert!(known.remove("global"), "Helm's own");
    assert_eq!(keys(&values), known);
}

#[test]
fn p01_the_chart_renders_as_written_down() {
    // Definitions are compared with the types below.
    for (file, more) in [("chart-default.yaml", None), ("chart-everything.yaml", Some(EVERYTHING))] {
        let args: Vec<_> = ["--set=crds.install=false"].into_iter().chain(more).collect();
        let text = rendered(&args);
        let path = root().join("tests/golden").join(file);
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            std::fs::write(&path, &text).unwrap();
        }
        let golden = std::fs::read_to_string(&path).unwrap_or_default();
        let differs = golden.lines().zip(text.lines()).position(|(written, now)| written != now);
        assert!(
            golden == text,
            "tests/golden/{file} differs from the chart at line {}; look at the change with\n  \
             UPDATE_GOLDEN=1 cargo test --test packaging; git diff tests/golden",
            differs.unwrap_or_else(|| golden.lines().count().min(text.lines().count())) + 1
        );
    }
}

#[test]
fn p01_each_value_of_the_chart_changes_what_is_rendered() {
    let everything: Value = serde_yaml_ng::from_str(&read("tests/golden/everything.values.yaml")).unwrap();
    let values: Value = serde_yaml_ng::from_str(&read("charts/farshore/values.yaml")).unwrap();
    let default = rendered(&["--set=crds.install=false"]);
    for (key, value) in everything.as_object().unwrap() {
        let alone = rendered(&["--set=crds.install=false", &format!("--set-json={key}={value}")]);
        assert!(alone != default || *value == values[key], "{key} changes nothing");
    }
    for key in ["podDisruptionBudget", "aggregatedRoles", "policies"] {
        let off = rendered(&["--set=crds.install=false", &format!("--set={key}.enabled=false")]);
        assert!(off.lines().count() < default.lines().count(), "{key} can be switched off");
    }
}

#[test]
fn p01_every_object_is_named_after_the_release_and_says_who_keeps_it() {
    for object in objects(&rendered(&[EVERYTHING])) {
        let labels = &object["metadata"]["labels"];
        assert_eq!(labels["app.kubernetes.io/managed-by"], "Helm", "{}", name(&object));
        assert_eq!(labels["app.kubernetes.io/instance"], "farshore", "{}", name(&object));
    }
    let other =
        ["template", "second", "charts/farshore", "--kube-version=1.34.4", "--set=crds.install=false"];
    let second = objects(&String::from_utf8(helm(&other).stdout).unwrap());
    assert!(second.len() > 10, "the other release was rendered");
    let first: BTreeSet<_> = objects(&rendered(&["--set=crds.install=false"])).iter().map(name).collect();
    let both: Vec<_> = second.iter().map(name).filter(|name| first.contains(name)).collect();
    assert!(both.is_empty(), "two releases would share {both:?}");
}

// ---- rights

#[test]
fn p07_no_role_of_the_chart_reads_a_secret_and_none_has_a_wildcard() {
    let all = objects(&rendered(&[EVERYTHING]));
    let roles: Vec<_> =
        all.iter().filter(|object| object["kind"] == "Role" || object["kind"] == "ClusterRole").collect();
    assert!(roles.len() >= 5, "they were found");
    for role in roles {
        for rule in role["rules"].as_array().unwrap() {
            for field in ["apiGroups", "resources", "verbs"] {
                let words = rule[field].as_array().unwrap();
                assert!(!words.contains(&json!("*")), "{}: {rule}", name(role));
            }
            // What is made is not read.
            let of_secrets = rule["resources"].as_array().unwrap().contains(&json!("secrets"));
            assert!(!of_secrets || rule["verbs"] == json!(["create"]), "{}: {rule}", name(role));
            for verb in ["escalate", "bind", "impersonate"] {
                assert!(!rule["verbs"].as_array().unwrap().contains(&json!(verb)), "{}: {rule}", name(role));
            }
        }
    }
}

#[test]
fn p07_every_pod_is_restricted() {
    let all = objects(&rendered(&[EVERYTHING]));
    let pods: Vec<_> =
        all.iter().filter(|object| object["spec"]["template"]["spec"]["containers"].is_array()).collect();
    assert_eq!(pods.len(), 2, "the controller and the check before an uninstall");
    for owner in pods {
        let pod = &owner["spec"]["template"]["spec"];
        assert_eq!(pod["securityContext"]["runAsNonRoot"], true, "{}", name(owner));
        assert_eq!(pod["securityContext"]["seccompProfile"]["type"], "RuntimeDefault", "{}", name(owner));
        for field in ["hostNetwork", "hostPID", "hostIPC", "volumes"] {
            assert!(pod[field].is_null(), "{} has {field}", name(owner));
        }
        for container in pod["containers"].as_array().unwrap() {
            let context = &container["securityContext"];
            assert_eq!(context["allowPrivilegeEscalation"], false, "{}", name(owner));
            assert_eq!(context["readOnlyRootFilesystem"], true, "{}", name(owner));
            assert_eq!(context["capabilities"], json!({"drop": ["ALL"]}), "{}", name(owner));
            assert!(!container["resources"]["limits"]["memory"].is_null(), "{}", name(owner));
            assert!(!container["resources"]["requests"]["memory"].is_null(), "{}", name(owner));
        }
    }
}

// ---- definitions and plain manifests

fn files(folder: &str) -> BTreeSet<String> {
    let entries = std::fs::read_dir(root().join(folder)).unwrap();
    entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

#[test]
fn p01_definitions_are_those_of_the_types() {
    let mut expected = BTreeSet::new();
    for definition in farshore::api::definitions() {
        let file = format!("{}_{}.yaml", definition.spec.group, definition.spec.names.plural);
        let text = serde_yaml_ng::to_string(&definition).unwrap();
        assert!(
            read(format!("crds/{file}")) == text,
            "crds/{file} is not what src/api says: run `make crds`"
        );
        expected.insert(file);
    }
    assert_eq!(files("crds"), expected, "run `make crds`, and remove what no type is for");
}

#[test]
fn p01_chart_and_plain_manifests_are_current() {
    assert_eq!(files("crds"), files("charts/farshore/crds-generated"), "run `make chart`");
    for file in files("crds") {
        let copy = read(format!("charts/farshore/crds-generated/{file}"));
        assert!(
            copy == read(format!("crds/{file}")),
            "charts/farshore/crds-generated/{file}: run `make chart`"
        );
    }
    let text = rendered(&["--no-hooks"]);
    let text: String = text.split_inclusive('\n').filter(|line| !line.starts_with("# Source: ")).collect();
    let text = text.replace("app.kubernetes.io/managed-by: Helm", "app.kubernetes.io/managed-by: kustomize");
    assert!(
        read("deploy/farshore.yaml") == text,
        "deploy/farshore.yaml is not the chart's: run `make chart`"
    );
}

#[test]
fn p01_definitions_fit_kubectl_and_server_side_apply() {
    for definition in farshore::api::definitions() {
        let definition = json!(definition);
        let names = &definition["spec"]["names"];
        assert_eq!(names["categories"], json!(["farshore"]), "{names}");
        let [version] = &definition["spec"]["versions"].as_array().unwrap()[..] else {
            panic!("{names}: one version")
        };
        assert_eq!(version["subresources"]["status"], json!({}), "{names}");
        assert!(version["additionalPrinterColumns"].as_array().unwrap().len() >= 3, "{names}");
        let schema = &version["schema"]["openAPIV3Schema"];
        assert!(schema["description"].is_string(), "{names}: `kubectl explain` says what it is");
        let conditions = &schema["properties"]["status"]["properties"]["conditions"];
        assert_eq!(conditions["x-kubernetes-list-type"], "map", "{names}");
        assert_eq!(conditions["x-kubernetes-list-map-keys"], json!(["type"]), "{names}");
        if names["kind"] != "Region" {
            assert!(names["shortNames"].is_array(), "{names}");
        }
        let path = names["kind"].as_str().unwrap().to_owned();
        let mut wrong = Vec::new();
        review(&path, schema, &mut wrong);
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    }
}

/// Types of Kubernetes itself: their lists are its own matter.
const FOREIGN: [&str; 2] = ["affinity", "resources"];

/// Finds lists without an end, maps without one, and fields that `kubectl explain` says nothing about.
fn review(path: &str, schema: &Value, wrong: &mut Vec<String>) {
    if schema["type"] == "array" && schema["maxItems"].is_null() {
        wrong.push(format!("{path}: a list without maxItems"));
    }
    if schema["additionalProperties"].is_object() && schema["maxProperties"].is_null() {
        wrong.push(format!("{path}: a map without maxProperties"));
    }
    // What another operator's definition describes is not ours to describe.
    let is_others = path.ends_with(".recovery.via.spec");
    if schema["x-kubernetes-preserve-unknown-fields"] == true && !is_others {
        wrong.push(format!("{path}: takes anything"));
    }
    if schema["items"].is_object() {
        review(&format!("{path}[]"), &schema["items"], wrong);
    }
    for (name, field) in schema["properties"].as_object().into_iter().flatten() {
        let path = format!("{path}.{name}");
        let is_ours = path.contains(".spec") || path.contains(".status");
        if is_ours && path.matches('.').count() > 1 && field["description"].as_str().is_none_or(str::is_empty)
        {
            wrong.push(format!("{path}: no description"));
        }
        if !FOREIGN.contains(&name.as_str()) {
            review(&path, field, wrong);
        }
    }
}
