//! The client's options as a type: they travel as text, and fields may be numbers, booleans, options or lists.

use std::collections::BTreeMap;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::de::value::{MapDeserializer, SeqDeserializer};
use serde::de::{Deserialize, Deserializer, Error as _, IntoDeserializer, Visitor};
use serde::forward_to_deserialize_any;
use serde_json::{Value, json};

use crate::bindings::dropforge::job::types::Parameter;
use crate::{Failure, invalid_input, schema_of};

type Error = serde::de::value::Error;

/// The schema of the parameters. A misspelt one is refused when the job is submitted.
pub(crate) fn schema<P: JsonSchema>() -> String {
    let schema = schema_of::<P>();
    let fields = schema.get("type").is_some_and(|kind| *kind == "object").then_some(schema);
    let mut schema = fields.unwrap_or_else(|| json!({"type": "object", "properties": {}}));
    if let Value::Object(members) = &mut schema {
        members.entry("additionalProperties").or_insert(json!(false));
    }
    schema.to_string()
}

/// Reads the parameters; the same name more than once is a list.
pub(crate) fn read<P: for<'a> Deserialize<'a>>(given: Vec<Parameter>) -> Result<P, Failure> {
    let mut values: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for Parameter { name, value } in given {
        values.entry(name).or_default().push(value);
    }
    let fields = values.into_iter().map(|(name, values)| (name.clone(), Given { name, values }));
    P::deserialize(Fields(MapDeserializer::new(fields))).map_err(invalid_input)
}

/// All of them: a map, or nothing where the type is `()`.
struct Fields<I: Iterator<Item = (String, Given)>>(MapDeserializer<'static, I, Error>);

impl<'de, I: Iterator<Item = (String, Given)>> Deserializer<'de> for Fields<I> {
    type Error = Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_map(self.0)
    }

    fn deserialize_unit<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_unit()
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option
        unit_struct newtype_struct seq tuple tuple_struct map struct enum identifier ignored_any
    }
}

/// What was given under one name.
struct Given {
    name: String,
    values: Vec<String>,
}

impl Given {
    fn text(&self) -> &str {
        self.values.last().map_or("", String::as_str)
    }

    fn parsed<T: FromStr>(&self, wanted: &str) -> Result<T, Error> {
        let wrong = |_| Error::custom(format!("{}: found {:?}, expected {wanted}", self.name, self.text()));
        self.text().parse().map_err(wrong)
    }
}

macro_rules! parse {
    ($($method:ident $visit:ident $type:ty, $wanted:literal;)*) => {
        $(fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
            visitor.$visit(self.parsed::<$type>($wanted)?)
        })*
    };
}

impl<'de> Deserializer<'de> for Given {
    type Error = Error;

    parse! {
        deserialize_bool visit_bool bool, "true or false";
        deserialize_i8 visit_i8 i8, "a whole number";
        deserialize_i16 visit_i16 i16, "a whole number";
        deserialize_i32 visit_i32 i32, "a whole number";
        deserialize_i64 visit_i64 i64, "a whole number";
        deserialize_u8 visit_u8 u8, "a whole number";
        deserialize_u16 visit_u16 u16, "a whole number";
        deserialize_u32 visit_u32 u32, "a whole number";
        deserialize_u64 visit_u64 u64, "a whole number";
        deserialize_f32 visit_f32 f32, "a number";
        deserialize_f64 visit_f64 f64, "a number";
    }

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_str(self.text())
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_some(self)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        let Self { name, values } = self;
        let each = values.into_iter().map(|value| Given { name: name.clone(), values: vec![value] });
        visitor.visit_seq(SeqDeserializer::new(each))
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _name: &'static str,
        _variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        visitor.visit_enum(self.text().into_deserializer())
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, _name: &'static str, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_newtype_struct(self)
    }

    forward_to_deserialize_any! {
        i128 u128 char str string bytes byte_buf unit unit_struct tuple tuple_struct map struct identifier ignored_any
    }
}

impl IntoDeserializer<'_, Error> for Given {
    type Deserializer = Self;

    fn into_deserializer(self) -> Self {
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, PartialEq, serde::Deserialize, schemars::JsonSchema)]
    #[serde(rename_all = "lowercase")]
    enum Order {
        Up,
        Down,
    }

    #[derive(Debug, PartialEq, serde::Deserialize, schemars::JsonSchema)]
    #[serde(default, deny_unknown_fields)]
    struct Options {
        dpi: f64,
        pages: Vec<u32>,
        name: Option<String>,
        fast: bool,
        order: Order,
    }

    impl Default for Options {
        fn default() -> Self {
            Self { dpi: 72.0, pages: Vec::new(), name: None, fast: false, order: Order::Up }
        }
    }

    fn given(pairs: &[(&str, &str)]) -> Vec<Parameter> {
        pairs.iter().map(|(name, value)| Parameter { name: (*name).into(), value: (*value).into() }).collect()
    }

    #[test]
    fn text_becomes_what_the_type_says() {
        let pairs =
            [("dpi", "200"), ("pages", "1"), ("pages", "3"), ("name", "7"), ("fast", "true"), ("order", "down")];
        let options: Options = read(given(&pairs)).expect("valid");
        let wanted = Options { dpi: 200.0, pages: vec![1, 3], name: Some("7".into()), fast: true, order: Order::Down };
        assert_eq!(options, wanted);
        assert_eq!(read::<Options>(Vec::new()).expect("valid"), Options::default());
        read::<()>(Vec::new()).expect("none are none");
    }

    #[test]
    fn refusals_name_the_parameter() {
        for (pair, wanted) in [
            (("dpi", "many"), "dpi: found \"many\", expected a number"),
            (("pages", "-1"), "pages: found \"-1\", expected a whole number"),
            (("dpy", "200"), "unknown field `dpy`"),
        ] {
            let Err(Failure::InvalidInput(message)) = read::<Options>(given(&[pair])) else { panic!("{pair:?}") };
            assert!(message.contains(wanted), "{message}");
        }
    }

    #[test]
    fn the_schema_is_that_of_an_object_and_closed() {
        for schema in [schema::<Options>(), schema::<()>()] {
            let schema: Value = serde_json::from_str(&schema).expect("JSON");
            assert_eq!((&schema["type"], &schema["additionalProperties"]), (&json!("object"), &json!(false)));
        }
    }
}
