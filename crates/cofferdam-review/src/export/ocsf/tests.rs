//! Every event in its class, as the schema wants it.

use super::*;
use crate::export::samples::Sample;

/// Required attributes and `at_least_one` constraints, from the schema's repository at its version 1.8.0 (commit
/// 3dcb905d26523ce4d5d0ba3c28c8507e2c859407): events/base_event.json, events/system/{system,process_activity,
/// file_activity}.json, events/application/application_lifecycle.json, objects/*.json.
const BASE: &[&str] = &["activity_id", "category_uid", "class_uid", "metadata", "severity_id", "time", "type_uid"];
const SYSTEM: &[&str] = &["actor", "device"];
const ACTOR: &[&str] = &["process", "user", "invoked_by", "session", "app_name", "app_uid"];
const PROCESS: &[&str] = &["pid", "uid", "cpid"];
const ENTITY: &[&str] = &["name", "uid"];
const ENDPOINT: &[&str] = &["ip", "uid", "name", "hostname", "instance_uid", "interface_uid", "interface_name"];

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
    match number("class_uid") {
        1007 => process_is_valid(&event["process"]),
        1001 => file_is_valid(&event["file"]),
        6002 => one_of(&event["app"], ENTITY),
        _ => assert!(event["unmapped"].is_object()),
    }
}

#[test]
fn every_event_of_a_run_is_valid_in_its_class() {
    let sample = Sample::whole();
    let mut out = Vec::new();
    write(&sample.record(), &mut out).unwrap();
    let all: Vec<Value> =
        out.split(|b| *b == b'\n').filter(|l| !l.is_empty()).map(|l| serde_json::from_slice(l).unwrap()).collect();
    let log = std::fs::read_to_string(sample.dir().join("log.jsonl")).unwrap();
    assert_eq!(all.len(), log.lines().count());
    all.iter().for_each(is_valid);
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
