//! Every event in its class, as the schema wants it.

use super::*;
use crate::export::samples::{self, Sample};

/// Required attributes and `at_least_one` constraints, from the schema's repository at its version 1.8.0 (commit
/// 3dcb905d26523ce4d5d0ba3c28c8507e2c859407): events/base_event.json, events/system/{system,process_activity,
/// file_activity}.json, events/network/{network,network_activity,http_activity,dns_activity}.json,
/// events/application/application_lifecycle.json, profiles/{host,security_control}.json, objects/*.json.
const BASE: &[&str] = &["activity_id", "category_uid", "class_uid", "metadata", "severity_id", "time", "type_uid"];
const SYSTEM: &[&str] = &["actor", "device"];
const ACTOR: &[&str] = &["process", "user", "invoked_by", "session", "app_name", "app_uid"];
const PROCESS: &[&str] = &["pid", "uid", "cpid"];
const ENTITY: &[&str] = &["name", "uid"];
const ENDPOINT: &[&str] = &["ip", "uid", "name", "hostname", "instance_uid", "interface_uid", "interface_name"];

const NETWORK_ENDPOINT: &[&str] =
    &["ip", "uid", "name", "hostname", "svc_name", "instance_uid", "interface_uid", "interface_name", "domain"];

fn has(value: &Value, required: &[&str]) {
    for name in required {
        assert!(!value[name].is_null(), "`{name}` is required: {value}");
    }
}

fn one_of(value: &Value, names: &[&str]) {
    assert!(names.iter().any(|name| !value[name].is_null()), "none of {names:?}: {value}");
}

fn file_is_valid(file: &Value) {
    has(file, &["name", "type_id"]);
    assert!([0, 1, 2, 3, 4, 5, 6, 7, 8, 99].contains(&file["type_id"].as_u64().unwrap()));
    file["hashes"].as_array().unwrap().iter().for_each(|hash| has(hash, &["algorithm_id", "value"]));
}

fn process_is_valid(process: &Value) {
    one_of(process, PROCESS);
    if process["file"].is_object() {
        file_is_valid(&process["file"]);
    }
}

fn is_valid(event: &Value) {
    has(event, BASE);
    has(&event["metadata"], &["product", "version"]);
    one_of(&event["metadata"]["product"], ENTITY);
    assert_eq!(event["metadata"]["version"], "1.8.0");
    let number = |name: &str| event[name].as_u64().unwrap();
    assert_eq!(number("type_uid"), number("class_uid") * 100 + number("activity_id"));
    assert!([0, 1, 2, 3, 4, 5, 6, 99].contains(&number("severity_id")));
    assert!(event["time"].as_i64().unwrap() > 1_700_000_000_000, "milliseconds");
    let (category, activities): (u64, &[u64]) = match number("class_uid") {
        0 => (0, &[0, 99]),
        1001 => (1, &[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 99]),
        1007 => (1, &[0, 1, 2, 3, 4, 5, 99]),
        6002 => (6, &[0, 1, 2, 3, 4, 5, 6, 7, 8, 99]),
        4001 => (4, &[0, 1, 2, 3, 4, 5, 6, 7, 99]),
        4002 => (4, &[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 99]),
        4003 => (4, &[0, 1, 2, 6, 99]),
        other => panic!("class {other}"),
    };
    assert_eq!(number("category_uid"), category);
    assert!(activities.contains(&number("activity_id")), "{event}");
    if category == 1 {
        has(event, SYSTEM);
        one_of(&event["actor"], ACTOR);
        if event["actor"]["process"].is_object() {
            process_is_valid(&event["actor"]["process"]);
        }
        has(&event["device"], &["type_id"]);
        one_of(&event["device"], ENDPOINT);
        has(&event["device"]["os"], &["name", "type_id"]);
    }
    if category == 4 {
        network_is_valid(event);
    }
    match number("class_uid") {
        4001 => {}
        4002 => one_of(event, &["http_request", "http_response"]),
        4003 => has(&event["query"], &["hostname"]),
        1007 => process_is_valid(&event["process"]),
        1001 => file_is_valid(&event["file"]),
        6002 => one_of(&event["app"], ENTITY),
        _ => assert!(event["unmapped"].is_object()),
    }
}

fn network_is_valid(event: &Value) {
    one_of(event, &["dst_endpoint", "src_endpoint"]);
    for side in ["dst_endpoint", "src_endpoint"] {
        one_of(&event[side], NETWORK_ENDPOINT);
        let ip = &event[side]["ip"];
        assert!(ip.is_null() || ip.as_str().unwrap().parse::<std::net::IpAddr>().is_ok(), "{event}");
        assert!(event[side]["port"].as_u64().is_none_or(|port| port <= 65535));
    }
    if event["connection_info"].is_object() {
        has(&event["connection_info"], &["direction_id"]);
    }
    if event["http_response"].is_object() {
        has(&event["http_response"], &["code"]);
    }
    for headers in [&event["http_request"]["http_headers"], &event["http_response"]["http_headers"]] {
        headers.as_array().into_iter().flatten().for_each(|header| has(header, &["name", "value"]));
    }
    if event["http_request"]["url"].is_object() {
        one_of(&event["http_request"]["url"], &["url_string", "path"]);
    }
    // What a profile adds is there where it is named, and nowhere else.
    assert_eq!(event["metadata"]["profiles"], json!(["host", "security_control"]));
    has(event, &["action_id", "disposition_id", "actor", "device"]);
    one_of(&event["actor"], ACTOR);
    let outcome = (event["action_id"].as_u64().unwrap(), event["disposition_id"].as_u64().unwrap());
    assert!([(1, 1), (2, 2), (3, 17)].contains(&outcome), "a disposition goes with its action: {event}");
}

/// The events of a run, each valid in its class.
fn valid(sample: &Sample) -> Vec<Value> {
    let mut out = Vec::new();
    write(&sample.record(), &mut out).unwrap();
    let lines = out.split(|b| *b == b'\n').filter(|line| !line.is_empty());
    let all: Vec<Value> = lines.map(|line| serde_json::from_slice(line).unwrap()).collect();
    all.iter().for_each(is_valid);
    all
}

#[test]
fn the_network_is_in_its_classes_with_what_policy_said() {
    use cofferdam_core::event::{Link, NetConnect, NetDenied, NetLookup};
    let sample = Sample::built(&[b"agent"], |log, _| {
        log.append(None, samples::exec(11, &[b"curl", b"https://api.example/"])).unwrap();
        let mut put = |what| log.append(Some((1, Link::Socket)), what).unwrap();
        for (name, allowed) in [("api.example", true), ("evil.example", false)] {
            let purposes = if allowed { vec!["fetch".to_owned()] } else { Vec::new() };
            put(EventKind::NetLookup(NetLookup { name: name.to_owned(), allowed, purposes }));
        }
        put(samples::exchange("POST", "https://api.example:8443/v1/x?q=1", "fetch"));
        put(samples::exchange("PROPFIND", "struck [secret:TOKEN] out", "fetch"));
        put(samples::connect("api.example", 8443, 2, None));
        let EventKind::NetConnect(connect) = samples::connect("192.0.2.7", 22, 0, Some("refused")) else { panic!() };
        put(EventKind::NetConnect(NetConnect { address: None, rule: None, ..connect }));
        put(samples::denial("evil.example", "no-rule"));
        let EventKind::NetDenied(denied) = samples::denial("a\n\"<b>", "secret") else { panic!() };
        let (method, path) = (Some("DELETE".to_owned()), Some("/\u{202e}".to_owned()));
        put(EventKind::NetDenied(NetDenied { method, path, ..denied.clone() }));
        put(EventKind::NetDenied(NetDenied { host: "9.9.9.9".into(), scheme: "udp".into(), ..denied }));
    });
    let all = valid(&sample);
    let of = |type_uid: u64| all.iter().filter(|e| e["type_uid"] == type_uid).collect::<Vec<_>>();
    let counts = [400_301, 400_206, 400_299, 400_102, 400_104, 400_105, 400_202].map(|uid| of(uid).len());
    assert_eq!(counts, [2, 1, 1, 1, 1, 2, 1]);
    let network: Vec<_> = all.iter().filter(|e| e["category_uid"] == 4).collect();
    assert!(network.iter().all(|e| e["actor"]["process"]["name"] == "curl"));
    assert!(all.iter().filter(|e| e["category_uid"] != 4).all(|e| e["action_id"].is_null()));
    let lookups: Vec<_> = of(400_301).iter().map(|e| e["action_id"].as_u64().unwrap()).collect();
    assert_eq!(lookups, [1, 3]);
    let post = of(400_206)[0];
    let url = &post["http_request"]["url"];
    assert_eq!((&url["path"], &url["query_string"]), (&json!("/v1/x"), &json!("q=1")));
    assert_eq!((&post["dst_endpoint"]["port"], &post["http_response"]["code"]), (&json!(8443), &json!(200)));
    assert_eq!(post["firewall_rule"]["desc"], "fetch");
    let closed = of(400_102)[0];
    assert_eq!((&closed["traffic"]["bytes"], &closed["dst_endpoint"]["ip"]), (&json!(1010), &json!("192.0.2.1")));
    assert_eq!(of(400_104)[0]["status_detail"], "refused");
    let stolen = of(400_202)[0];
    assert_eq!((&stolen["disposition_id"], &stolen["is_alert"]), (&json!(2), &json!(true)));
    assert_eq!((&stolen["severity_id"], &stolen["status_code"]), (&json!(3), &json!("secret")));
    let refused: Vec<_> = of(400_105).iter().map(|e| e["connection_info"]["protocol_num"].as_u64().unwrap()).collect();
    assert_eq!(refused, [6, 17]);
}

#[test]
fn every_event_of_a_run_is_valid_in_its_class() {
    let sample = Sample::whole();
    let all = valid(&sample);
    let log = std::fs::read_to_string(sample.dir().join("log.jsonl")).unwrap();
    assert_eq!(all.len(), log.lines().count());
    let of = |type_uid: u64| all.iter().filter(|e| e["type_uid"] == type_uid).collect::<Vec<_>>();
    assert_eq!((of(600_203).len(), of(600_204).len()), (1, 1));
    assert_eq!((of(100_701).len(), of(100_702).len()), (4, 4));
    let killed = of(100_702).into_iter().find(|e| e["status_detail"] == "killed by signal 9").unwrap();
    assert_eq!((&killed["status_id"], &killed["exit_code"]), (&json!(2), &Value::Null));
    let test = of(100_701)[1];
    assert_eq!(test["process"]["name"], "cargo");
    assert_eq!(test["actor"]["process"]["name"], "agent", "the cause is the actor");
    let made = of(100_101)[0];
    assert_eq!(made["file"]["path"], "/home/person/project/src/a.rs");
    assert_eq!(made["actor"]["process"]["pid"], test["process"]["pid"]);
}

#[test]
fn activities_follow_both_sides() {
    let entry = |mode, digest| Entry {
        kind: FileKind::File,
        mode,
        size: 1,
        mtime: Timestamp(0),
        digest: Some(Digest([digest; 32])),
    };
    let of = |before, after| activity_of(&FileChanged::new("a".into(), before, after)).0;
    assert_eq!(of(None, Some(entry(0o644, 1))), 1);
    assert_eq!(of(Some(entry(0o644, 1)), None), 4);
    assert_eq!(of(Some(entry(0o644, 1)), Some(entry(0o755, 1))), 6);
    assert_eq!(of(Some(entry(0o644, 1)), Some(entry(0o755, 2))), 3);
}
