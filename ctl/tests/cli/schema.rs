//! As much of JSON Schema as `docs/agentctl-json.schema.json` uses; a keyword that is not known
//! here fails, so that nothing goes unchecked.

use std::{collections::BTreeSet, fs};

use serde_json::{Map, Value};

pub(crate) struct Schema(Value);

const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/agentctl-json.schema.json");
/// Keywords that say something to people, or are read elsewhere.
const WORDS: &[&str] = &["description", "format", "properties", "required", "additionalProperties"];

impl Schema {
    pub(crate) fn load() -> Self {
        Self(serde_json::from_str(&fs::read_to_string(FILE).unwrap()).unwrap())
    }

    pub(crate) fn required(&self, name: &str) -> BTreeSet<&str> {
        let fields = self.definition(name)["required"].as_array().unwrap();
        fields.iter().map(|field| field.as_str().unwrap()).collect()
    }

    /// Also refuses fields that the schema does not describe: programs may ignore them, this
    /// project may not.
    pub(crate) fn check(&self, name: &str, value: &Value) {
        if let Err(why) = self.fits(self.definition(name), value) {
            panic!("not a {name}: {why}\n{value:#}");
        }
    }

    fn definition(&self, name: &str) -> &Value {
        self.0["$defs"].get(name).unwrap_or_else(|| panic!("the schema has no {name}"))
    }

    fn fits(&self, schema: &Value, value: &Value) -> Result<(), String> {
        for (keyword, rule) in schema.as_object().unwrap() {
            match keyword.as_str() {
                "$ref" => {
                    let name = rule.as_str().unwrap().strip_prefix("#/$defs/").unwrap();
                    self.fits(self.definition(name), value)?;
                }
                "anyOf" => self.any(rule.as_array().unwrap(), value)?,
                "type" => one_of_types(rule, value)?,
                "enum" if !rule.as_array().unwrap().contains(value) => {
                    return Err(format!("{value} is none of {rule}"));
                }
                "enum" => {}
                "items" => {
                    for item in value.as_array().into_iter().flatten() {
                        self.fits(rule, item)?;
                    }
                }
                word if WORDS.contains(&word) => {}
                other => return Err(format!("keyword {other} is not known to this test")),
            }
        }
        match value.as_object() {
            Some(fields) if schema.get("type").is_some() => self.fields(schema, fields),
            _ => Ok(()),
        }
    }

    fn any(&self, rules: &[Value], value: &Value) -> Result<(), String> {
        let mut whys = Vec::new();
        for rule in rules {
            match self.fits(rule, value) {
                Ok(()) => return Ok(()),
                Err(why) => whys.push(why),
            }
        }
        Err(whys.join("; and "))
    }

    fn fields(&self, schema: &Value, fields: &Map<String, Value>) -> Result<(), String> {
        for required in schema["required"].as_array().into_iter().flatten() {
            let name = required.as_str().unwrap();
            if !fields.contains_key(name) {
                return Err(format!("{name} is missing"));
            }
        }
        for (name, value) in fields {
            let rule = schema["properties"].get(name).or(schema.get("additionalProperties"));
            let rule = rule.ok_or_else(|| format!("{name} is not described"))?;
            self.fits(rule, value).map_err(|why| format!("{name}: {why}"))?;
        }
        Ok(())
    }
}

fn one_of_types(rule: &Value, value: &Value) -> Result<(), String> {
    let found = match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(n) if n.is_u64() || n.is_i64() => "integer",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    };
    let takes = |rule: &Value| rule == found || (rule == "number" && found == "integer");
    let ok = rule.as_array().map_or_else(|| takes(rule), |rules| rules.iter().any(takes));
    if ok { Ok(()) } else { Err(format!("{found} instead of {rule}")) }
}
