//! The JSON Schema of a configuration file, made from the options themselves.

use clap::Command;
use schemars::{Schema, schema_for};
use serde_json::{Map, Value, json};

use super::feed::FeedTable;
use super::file::{SinkTable, SubscriptionTable};
use super::keys::{self, Form, Key, Kind};

/// The schema as indented JSON.
pub fn text(command: &Command) -> String {
    let mut text = serde_json::to_string_pretty(&schema(command)).expect("a schema is plain JSON");
    text.push('\n');
    text
}

fn schema(command: &Command) -> Value {
    let mut properties: Map<String, Value> =
        keys::all(&keys::run(command)).iter().map(|key| (key.name.clone(), property(key))).collect();
    let mut definitions = Map::new();
    for (name, table) in [("subscription", schema_for!(SubscriptionTable)), ("sink", schema_for!(SinkTable))] {
        properties.insert(name.into(), array(table, &mut definitions));
    }
    // `feed` is the option, or an array of tables.
    let option = properties["feed"].take();
    let description = option["description"].clone();
    let tables = array(schema_for!(FeedTable), &mut definitions);
    properties["feed"] = json!({ "description": description, "anyOf": [option, tables] });
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Configuration of receiver run",
        "type": "object",
        "properties": properties,
        "additionalProperties": false,
        "$defs": definitions,
    })
}

/// An array of tables. Their definitions go to those of the whole schema, where references look for them.
fn array(table: Schema, definitions: &mut Map<String, Value>) -> Value {
    let mut table = table.to_value();
    let object = table.as_object_mut().expect("the schema of a struct is an object");
    object.remove("$schema");
    if let Some(Value::Object(own)) = object.remove("$defs") {
        definitions.extend(own);
    }
    let description = object.remove("description");
    json!({ "description": description, "type": "array", "items": table })
}

fn property(key: &Key) -> Value {
    let scalar = |form| match form {
        Form::Any => json!({ "type": ["string", "number"] }),
        Form::Text | Form::Path | Form::Target => json!({ "type": "string" }),
    };
    let mut property = match key.kind {
        Kind::Flag => json!({ "type": "boolean", "default": false }),
        Kind::Count => json!({ "type": "integer", "minimum": 0, "maximum": 255, "default": 0 }),
        Kind::One(_) if !key.values.is_empty() => json!({ "enum": key.values }),
        Kind::One(form) => scalar(form),
        Kind::Several(form) => {
            let one = scalar(form);
            json!({ "anyOf": [one, { "type": "array", "items": one }] })
        }
    };
    property["description"] = key.help.as_str().into();
    if let Some(default) = &key.default {
        property["default"] = default.as_str().into();
    }
    property
}

#[cfg(test)]
mod tests {
    use super::*;

    fn references<'a>(value: &'a Value, all: &mut Vec<&'a str>) {
        match value {
            Value::Object(fields) => {
                all.extend(fields.get("$ref").and_then(Value::as_str));
                fields.values().for_each(|field| references(field, all));
            }
            Value::Array(values) => values.iter().for_each(|value| references(value, all)),
            _ => {}
        }
    }

    /// An editor shows a fault in each table otherwise.
    #[test]
    fn each_reference_leads_somewhere() {
        let schema = schema(&crate::command());
        let mut all = Vec::new();
        references(&schema, &mut all);
        assert!(!all.is_empty());
        for reference in all {
            let pointer = reference.strip_prefix('#').expect("within the document");
            assert!(schema.pointer(pointer).is_some(), "{reference}");
        }
    }
}
