//! One line of input → one record. Borrows from the line wherever it can; pure.

use std::borrow::Cow;
use std::fmt;
use std::time::{Duration, UNIX_EPOCH};

use serde::Deserialize;
use serde::de::{self, DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

/// What a line of the input is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Format {
    /// Each line is a value, byte for byte; an empty line is an empty value.
    #[default]
    Lines,
    /// Each line is {"key", "value", "headers", "partition", "timestamp"}; blank lines are skipped.
    Ndjson,
}

/// A record as the input describes it, without its topic.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Record<'a> {
    /// The key, if it has one.
    pub(super) key: Option<Cow<'a, [u8]>>,
    /// The value; `None` is a tombstone.
    pub(super) value: Option<Cow<'a, [u8]>>,
    /// Headers in the order given; names may repeat.
    pub(super) headers: Vec<(String, Option<Vec<u8>>)>,
    /// The partition, where the input names one.
    pub(super) partition: Option<i32>,
    /// Milliseconds since the Unix epoch, where the input gives a time.
    pub(super) timestamp: Option<i64>,
}

impl Record<'_> {
    /// Bytes of key, value and headers: what the byte limit is charged.
    pub(super) fn size(&self) -> u64 {
        let part = |bytes: &Option<Cow<'_, [u8]>>| bytes.as_ref().map_or(0, |bytes| bytes.len());
        let headers: usize =
            self.headers.iter().map(|(name, value)| name.len() + value.as_ref().map_or(0, Vec::len)).sum();
        (part(&self.key) + part(&self.value) + headers) as u64
    }
}

/// Why a line is no record: a clause that names the place in the line.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum BadLine {
    /// Not the JSON that was announced.
    #[error("{0}")]
    Json(String),
    /// Not an object in an `ndjson` line.
    #[error("it is no JSON object {{\"value\": …}} (for lines that are values themselves use --format lines)")]
    NoObject,
    /// No "value" in an `ndjson` line.
    #[error(
        "it has no \"value\" (write null for a tombstone; for lines that are values themselves use --format lines)"
    )]
    NoValue,
    /// `--key-field` found nothing.
    #[error("it has no field {0:?} to take the key from (--key-field)")]
    NoKey(String),
    /// `--key-field` found null.
    #[error("its field {0:?} is null and cannot be the key (--key-field)")]
    NullKey(String),
    /// A partition below zero.
    #[error("partition {0} is below 0")]
    Partition(i64),
    /// A time that cannot be read.
    #[error("timestamp {0} is neither milliseconds since 1970 nor RFC 3339 text such as \"2026-01-31T12:00:00Z\"")]
    Timestamp(String),
    /// Longer than a line may be.
    #[error("it is longer than {} MiB; is this a text file?", .0 >> 20)]
    TooLong(usize),
}

/// Reads lines of one format.
#[derive(Clone, Debug)]
pub(super) struct Parser {
    format: Format,
    key_field: Option<KeyField>,
}

impl Parser {
    /// For lines of `format`; `key_field` (dots descend: `customer.id`) names the field of the value that is the key.
    pub(super) fn new(format: Format, key_field: Option<&str>) -> Self {
        let key_field = key_field
            .map(|name| KeyField { name: name.to_owned(), path: name.split('.').map(str::to_owned).collect() });
        Self { format, key_field }
    }

    /// The record on `line` (without its line end); `None` for a line that holds nothing, which only `ndjson` has.
    ///
    /// # Errors
    /// The reason why the line is no record.
    pub(super) fn parse<'a>(&self, line: &'a [u8]) -> Result<Option<Record<'a>>, BadLine> {
        match self.format {
            Format::Lines => self.parse_value(line).map(Some),
            Format::Ndjson if line.trim_ascii().is_empty() => Ok(None),
            Format::Ndjson => self.parse_object(line).map(Some),
        }
    }

    fn parse_value<'a>(&self, line: &'a [u8]) -> Result<Record<'a>, BadLine> {
        let key = self.key_field.as_ref().map(|field| field.find(without_bom(line))).transpose()?;
        Ok(Record { key, value: Some(Cow::Borrowed(line)), ..Record::default() })
    }

    fn parse_object<'a>(&self, line: &'a [u8]) -> Result<Record<'a>, BadLine> {
        let line = without_bom(line);
        // serde would take `["k", "v"]` for the fields in their order.
        if line.trim_ascii_start().first() != Some(&b'{') {
            return Err(BadLine::NoObject);
        }
        let raw: RawRecord<'a> = serde_json::from_slice(line).map_err(|error| json_error(&error))?;
        let raw_value = raw.value.ok_or(BadLine::NoValue)?;
        let given = raw.key.map(bytes_of).transpose()?.flatten();
        let key = match (&self.key_field, given) {
            (_, Some(key)) => Some(key),
            (Some(field), None) => Some(field.find(raw_value.get().as_bytes())?),
            (None, None) => None,
        };
        let partition = match raw.partition {
            Some(number) if number < 0 => return Err(BadLine::Partition(number)),
            Some(number) => Some(i32::try_from(number).map_err(|_| BadLine::Partition(number))?),
            None => None,
        };
        let timestamp = raw.timestamp.map(timestamp_of).transpose()?.flatten();
        Ok(Record { key, value: bytes_of(raw_value)?, headers: raw.headers.0, partition, timestamp })
    }
}

/// Where in the value the key stands.
#[derive(Clone, Debug)]
struct KeyField {
    name: String,
    path: Vec<String>,
}

impl KeyField {
    fn find<'a>(&self, json: &'a [u8]) -> Result<Cow<'a, [u8]>, BadLine> {
        let mut deserializer = serde_json::Deserializer::from_slice(json);
        let found = Finder { path: &self.path }
            .deserialize(&mut deserializer)
            .and_then(|found| deserializer.end().map(|()| found))
            .map_err(|error| json_error(&error))?
            .ok_or_else(|| BadLine::NoKey(self.name.clone()))?;
        bytes_of(found)?.ok_or_else(|| BadLine::NullKey(self.name.clone()))
    }
}

/// Descends along `path` through objects and ignores everything beside it. The last of repeated names counts.
struct Finder<'p> {
    path: &'p [String],
}

impl<'de> DeserializeSeed<'de> for Finder<'_> {
    type Value = Option<&'de RawValue>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Finder<'_> {
    type Value = Option<&'de RawValue>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON object (--key-field takes the key from one)")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let Some((name, rest)) = self.path.split_first() else { return Ok(None) };
        let mut found = None;
        while let Some(matches) = map.next_key_seed(Equals(name))? {
            if !matches {
                map.next_value::<IgnoredAny>()?;
                continue;
            }
            let raw: &RawValue = map.next_value()?;
            found = if rest.is_empty() {
                Some(raw)
            } else if raw.get().starts_with('{') {
                let mut inner = serde_json::Deserializer::from_str(raw.get());
                Finder { path: rest }.deserialize(&mut inner).map_err(de::Error::custom)?
            } else {
                None
            };
        }
        Ok(found)
    }
}

/// Whether an object's key is this text, without keeping it.
struct Equals<'t>(&'t str);

impl<'de> DeserializeSeed<'de> for Equals<'_> {
    type Value = bool;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<bool, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for Equals<'_> {
    type Value = bool;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a field name")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<bool, E> {
        Ok(text == self.0)
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawRecord<'a> {
    #[serde(borrow, default, deserialize_with = "present")]
    key: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "present")]
    value: Option<&'a RawValue>,
    #[serde(default)]
    headers: Headers,
    #[serde(default)]
    partition: Option<i64>,
    #[serde(borrow, default, deserialize_with = "present")]
    timestamp: Option<&'a RawValue>,
}

/// A field that is there, null included: `Option` alone would take null for absence.
fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<&'de RawValue>, D::Error> {
    <&RawValue>::deserialize(deserializer).map(Some)
}

/// `{"name": "text" | null, …}`, or `[["name", "text" | null], …]` where a name repeats.
#[derive(Default)]
struct Headers(Vec<(String, Option<Vec<u8>>)>);

impl<'de> Deserialize<'de> for Headers {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Both;
        impl<'de> Visitor<'de> for Both {
            type Value = Headers;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("headers as {\"name\": \"text\" or null} or [[\"name\", \"text\" or null]]")
            }

            fn visit_unit<E: de::Error>(self) -> Result<Headers, E> {
                Ok(Headers::default())
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Headers, A::Error> {
                let mut headers = Vec::new();
                while let Some((name, value)) = map.next_entry::<String, Option<String>>()? {
                    headers.push((name, value.map(String::into_bytes)));
                }
                Ok(Headers(headers))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Headers, A::Error> {
                let mut headers = Vec::new();
                while let Some((name, value)) = seq.next_element::<(String, Option<String>)>()? {
                    headers.push((name, value.map(String::into_bytes)));
                }
                Ok(Headers(headers))
            }
        }
        deserializer.deserialize_any(Both)
    }
}

/// A string's text, the raw JSON of anything else, `None` for null.
fn bytes_of(raw: &RawValue) -> Result<Option<Cow<'_, [u8]>>, BadLine> {
    struct Text;
    impl<'de> Visitor<'de> for Text {
        type Value = Cow<'de, [u8]>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("text")
        }

        fn visit_borrowed_str<E: de::Error>(self, text: &'de str) -> Result<Self::Value, E> {
            Ok(Cow::Borrowed(text.as_bytes()))
        }

        fn visit_str<E: de::Error>(self, text: &str) -> Result<Self::Value, E> {
            Ok(Cow::Owned(text.as_bytes().to_vec()))
        }
    }
    let text = raw.get();
    match text.as_bytes().first() {
        Some(b'n') => Ok(None),
        // The column would count from the start of this text, not of the line.
        Some(b'"') => serde_json::Deserializer::from_str(text)
            .deserialize_str(Text)
            .map(Some)
            .map_err(|error| BadLine::Json(format!("{} in a text", reason_of(&error.to_string())))),
        _ => Ok(Some(Cow::Borrowed(text.as_bytes()))),
    }
}

fn timestamp_of(raw: &RawValue) -> Result<Option<i64>, BadLine> {
    let refused = || BadLine::Timestamp(raw.get().to_owned());
    let Some(text) = bytes_of(raw)? else { return Ok(None) };
    let text = std::str::from_utf8(&text).map_err(|_| refused())?;
    if !raw.get().starts_with('"') {
        return text.parse().ok().filter(|millis| *millis >= 0).map(Some).ok_or_else(refused);
    }
    let time = humantime::parse_rfc3339(text).map_err(|_| refused())?;
    let since: Duration = time.duration_since(UNIX_EPOCH).map_err(|_| refused())?;
    i64::try_from(since.as_millis()).map(Some).map_err(|_| refused())
}

/// Some editors put a byte order mark before the first line; JSON does not allow it.
fn without_bom(line: &[u8]) -> &[u8] {
    line.strip_prefix(b"\xef\xbb\xbf").unwrap_or(line)
}

/// serde's sentence without "line 1": the caller names the line of the file.
fn json_error(error: &serde_json::Error) -> BadLine {
    let text = error.to_string();
    let reason = reason_of(&text);
    let advice = if reason.starts_with("unknown field") {
        "; for lines that are values themselves use --format lines"
    } else {
        ""
    };
    BadLine::Json(match error.column() {
        0 => format!("{reason}{advice}"),
        column => format!("{reason} (column {column}){advice}"),
    })
}

/// serde's sentence without its position.
fn reason_of(text: &str) -> &str {
    text.rsplit_once(" at line ").map_or(text, |(reason, _)| reason)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn bytes(text: &str) -> Option<Cow<'_, [u8]>> {
        Some(Cow::Borrowed(text.as_bytes()))
    }

    #[test]
    fn a_line_is_its_value_byte_for_byte() {
        let parser = Parser::new(Format::Lines, None);
        for line in [&b"plain"[..], b"", b"  spaces ", b"\xff\xfe not UTF-8", b"{\"not\": parsed"] {
            let record = parser.parse(line).unwrap().unwrap();
            assert_eq!(record, Record { value: Some(Cow::Borrowed(line)), ..Record::default() });
        }
    }

    #[test]
    fn ndjson_gives_every_part() {
        let parser = Parser::new(Format::Ndjson, None);
        let line =
            br#"{"key":"k","value":{"a": 1.50},"headers":{"h":"x","n":null},"partition":3,"timestamp":1700000000123}"#;
        let record = parser.parse(line).unwrap().unwrap();
        assert_eq!(record.key, bytes("k"));
        assert_eq!(record.value, bytes("{\"a\": 1.50}"), "the text as it stands, digits and blanks included");
        assert_eq!(record.headers, vec![("h".to_owned(), Some(b"x".to_vec())), ("n".to_owned(), None)]);
        assert_eq!((record.partition, record.timestamp), (Some(3), Some(1_700_000_000_123)));
        assert_eq!(record.size(), 1 + 11 + 3);
    }

    #[test]
    fn ndjson_values_of_every_kind() {
        let parser = Parser::new(Format::Ndjson, None);
        for (line, value) in [
            (r#"{"value":"text"}"#, Some("text")),
            (r#"{"value":"a\tb\u00e9"}"#, Some("a\tb\u{e9}")),
            (r#"{"value":""}"#, Some("")),
            (r#"{"value":12345678901234567890123}"#, Some("12345678901234567890123")),
            (r#"{"value":[1,2]}"#, Some("[1,2]")),
            (r#"{"value":true}"#, Some("true")),
            (r#"{"value":null}"#, None),
        ] {
            let record = parser.parse(line.as_bytes()).unwrap().unwrap();
            assert_eq!(record.value.as_deref(), value.map(str::as_bytes), "{line}");
        }
        assert_eq!(parser.parse(b"  ").unwrap(), None);
        assert!(parser.parse(b"\xef\xbb\xbf{\"value\":1}").unwrap().is_some(), "a byte order mark");
    }

    #[test]
    fn headers_may_repeat_as_pairs() {
        let parser = Parser::new(Format::Ndjson, None);
        let record = parser.parse(br#"{"value":1,"headers":[["a","1"],["a",null]]}"#).unwrap().unwrap();
        assert_eq!(record.headers, vec![("a".to_owned(), Some(b"1".to_vec())), ("a".to_owned(), None)]);
    }

    #[test]
    fn times_are_milliseconds_or_rfc3339() {
        let parser = Parser::new(Format::Ndjson, None);
        for (given, expected) in
            [("0", Some(0)), ("\"1970-01-01T00:00:01.5Z\"", Some(1500)), ("null", None), ("1699", Some(1699))]
        {
            let line = format!("{{\"value\":1,\"timestamp\":{given}}}");
            assert_eq!(parser.parse(line.as_bytes()).unwrap().unwrap().timestamp, expected, "{given}");
        }
        for given in ["-1", "1.5", "\"yesterday\"", "true", "{}", "99999999999999999999"] {
            let line = format!("{{\"value\":1,\"timestamp\":{given}}}");
            assert!(matches!(parser.parse(line.as_bytes()), Err(BadLine::Timestamp(_))), "{given}");
        }
    }

    #[test]
    fn bad_lines_say_what_and_where() {
        let parser = Parser::new(Format::Ndjson, None);
        for (line, expected) in [
            (&br#"{"value":1"#[..], "EOF while parsing an object (column 10)"),
            (br#"{"value":1} x"#, "trailing characters (column 13)"),
            (br#"{"valeu":1}"#, "unknown field `valeu`"),
            (br#"{"key":"k"}"#, "no \"value\""),
            (br#"{"value":1,"value":2}"#, "duplicate field `value`"),
            (br#"{"value":1,"partition":-2}"#, "partition -2"),
            (br#"{"value":1,"partition":"x"}"#, "invalid type"),
            (br#"{"value":1,"headers":{"a":1}}"#, "invalid type"),
            (br#"{"value":"\ud800"}"#, "hex escape in a text"),
            (b"[\"k\",\"v\"]", "no JSON object"),
            (b"\xff\xff", "no JSON object"),
            (b"{\xff}", "key must be a string"),
        ] {
            let error = parser.parse(line).unwrap_err().to_string();
            assert!(error.contains(expected), "{:?}: {error}", String::from_utf8_lossy(line));
            assert!(!error.contains("line 1 "), "{error}");
        }
    }

    #[test]
    fn keys_come_from_a_field_of_the_value() {
        let lines = Parser::new(Format::Lines, Some("customer.id"));
        for (line, key) in [
            (r#"{"customer":{"id":"c1"},"x":[{"id":2}]}"#, "c1"),
            (r#"{"x":{"id":0},"customer":{"name":"n","id":42}}"#, "42"),
            (r#"{"customer":{"id":1},"customer":{"id":2}}"#, "2"),
        ] {
            let record = lines.parse(line.as_bytes()).unwrap().unwrap();
            assert_eq!(record.key, bytes(key), "{line}");
            assert_eq!(record.value, bytes(line));
        }
        for line in [r#"{"customer":{}}"#, r#"{"customer":"c1"}"#, "{}"] {
            assert_eq!(lines.parse(line.as_bytes()), Err(BadLine::NoKey("customer.id".into())), "{line}");
        }
        assert_eq!(lines.parse(br#"{"customer":{"id":null}}"#), Err(BadLine::NullKey("customer.id".into())));
        for line in ["", "text", "[1]", r#"{"customer":{"id":1}} trailing"#, r#"{"customer":{"id":1}"#] {
            assert!(matches!(lines.parse(line.as_bytes()), Err(BadLine::Json(_))), "{line}");
        }
    }

    #[test]
    fn a_key_of_its_own_wins_over_the_field() {
        let parser = Parser::new(Format::Ndjson, Some("id"));
        let key = |line: &'static str| parser.parse(line.as_bytes()).unwrap().unwrap().key;
        assert_eq!(key(r#"{"key":"own","value":{"id":"field"}}"#), bytes("own"));
        assert_eq!(key(r#"{"value":{"id":"field"}}"#), bytes("field"));
        assert_eq!(key(r#"{"key":null,"value":{"id":"field"}}"#), bytes("field"));
    }

    proptest! {
        #[test]
        fn any_text_survives_ndjson(key in ".*", value in ".*", header in ".*", at in 0_i64..4_000_000_000_000) {
            let line = json!({"key": key, "value": value, "headers": {"h": header}, "timestamp": at}).to_string();
            let record = Parser::new(Format::Ndjson, None).parse(line.as_bytes()).unwrap().unwrap();
            prop_assert_eq!(record.key.as_deref(), Some(key.as_bytes()));
            prop_assert_eq!(record.value.as_deref(), Some(value.as_bytes()));
            prop_assert_eq!(record.headers, vec![("h".to_owned(), Some(header.into_bytes()))]);
            prop_assert_eq!(record.timestamp, Some(at));
        }

        #[test]
        fn no_line_panics(line in prop::collection::vec(any::<u8>(), 0..200)) {
            for format in [Format::Lines, Format::Ndjson] {
                let _ = Parser::new(format, Some("a.b")).parse(&line);
            }
        }
    }
}
