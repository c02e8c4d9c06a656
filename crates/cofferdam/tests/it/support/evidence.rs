//! What a run wrote down.

use std::io::Read;
use std::path::PathBuf;

use serde_json::Value;

use super::Scene;

/// The log of a scene's last run, and the statement under its last checkpoint.
pub struct Evidence {
    pub directory: PathBuf,
    pub events: Vec<Value>,
    pub statement: Value,
}

impl Evidence {
    pub fn of(scene: &Scene) -> Evidence {
        let runs = std::fs::read_dir(scene.state.join("cofferdam/runs")).unwrap().map(|e| e.unwrap().path());
        let last = runs.max_by_key(|run| run.metadata().unwrap().created().unwrap()).unwrap();
        let directory = last.join("evidence");
        let log = std::fs::read_to_string(directory.join("log.jsonl")).unwrap();
        let events = log.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let checkpoints = std::fs::read_to_string(directory.join("checkpoints")).unwrap();
        let statement = checkpoints.lines().rev().find_map(|line| line.strip_prefix("cofferdam {"));
        let statement = serde_json::from_str(&format!("{{{}", statement.expect("a statement"))).unwrap();
        Evidence { directory, events, statement }
    }

    /// The statement finds nothing unexplained: the process connector, where it could count, counted as many.
    pub fn is_complete(&self) {
        let statement = &self.statement;
        assert_eq!(statement["execs"]["unexplained"], 0, "{statement}");
        assert_eq!(statement["exits"]["unexplained"], 0, "{statement}");
        match statement["execs"].get("counted") {
            Some(counted) => assert_eq!(*counted, statement["execs"]["recorded"], "{statement}"),
            None => assert!(!statement["notes"].as_array().unwrap().is_empty(), "{statement}"),
        }
        assert_eq!(statement["execs"]["recorded"], self.of_kind("process.exec").len() as u64);
    }

    pub fn of_kind(&self, kind: &str) -> Vec<&Value> {
        self.events.iter().filter(|e| e["kind"] == kind).collect()
    }

    /// The one `process.exec` with these arguments.
    pub fn exec(&self, argv: &[&str]) -> &Value {
        let argv = serde_json::json!(argv);
        let mut hits = self.of_kind("process.exec").into_iter().filter(|e| e["data"]["argv"] == argv);
        let hit = hits.next().unwrap_or_else(|| panic!("{argv:?} is not among {:#?}", self.events));
        assert!(hits.next().is_none(), "{argv:?} is there twice");
        hit
    }

    /// How many `process.exec` have this first argument.
    pub fn argv_count(&self, first: &str) -> usize {
        self.of_kind("process.exec").iter().filter(|e| e["data"]["argv"][0] == first).count()
    }

    /// The end of the process of a `process.exec`, its last.
    pub fn exit(&self, exec: &Value) -> &Value {
        let seq = &exec["seq"];
        let hit = self.of_kind("process.exit").into_iter().find(|e| e["cause"] == *seq);
        hit.unwrap_or_else(|| panic!("{exec} has no end"))
    }

    /// The content of a blob.
    pub fn blob(&self, reference: &Value) -> Vec<u8> {
        let store = cofferdam_evidence::BlobStore::open(&self.directory).unwrap();
        let mut content = Vec::new();
        let blob = serde_json::from_value(reference.clone()).unwrap();
        store.get(&blob).unwrap().read_to_end(&mut content).unwrap();
        content
    }
}
