//! JSON pointers (RFC 6901) that are written through.

use serde_json::{Map, Value};

/// Puts a value where a pointer says, making the objects on the way. What is in the way and no object is replaced.
pub(super) fn set(whole: &mut Value, pointer: &str, value: Value) {
    let mut at = whole;
    for part in pointer.split('/').skip(1) {
        let part = part.replace("~1", "/").replace("~0", "~");
        if !at.is_object() {
            *at = Value::Object(Map::new());
        }
        let Value::Object(map) = at else { return };
        at = map.entry(part).or_insert(Value::Null);
    }
    *at = value;
}

/// Copies to `into` what of `from` stands at a pointer.
pub(super) fn copy(from: &Value, into: &mut Value, pointer: &str) {
    if let Some(value) = from.pointer(pointer) {
        set(into, pointer, value.clone());
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn values_are_set_where_a_pointer_reads_them() {
        let mut value = json!({"a": {"b": 1, "keep": true}, "c": "text"});
        set(&mut value, "/a/b", json!(2));
        set(&mut value, "/c/d", json!("new"));
        set(&mut value, "/https:~1~1x~1y/z~0", json!([1]));
        assert_eq!(value, json!({"a": {"b": 2, "keep": true}, "c": {"d": "new"}, "https://x/y": {"z~": [1]}}));
        assert_eq!(value.pointer("/https:~1~1x~1y/z~0"), Some(&json!([1])));
        let mut into = json!({});
        copy(&value, &mut into, "/a/keep");
        copy(&value, &mut into, "/none");
        assert_eq!(into, json!({"a": {"keep": true}}));
    }
}
