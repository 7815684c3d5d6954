//! Refusals as RFC 9457 problem documents.

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Map, Value};

/// One refusal.
#[derive(Clone, Debug)]
pub(super) struct Problem {
    status: StatusCode,
    body: Map<String, Value>,
}

impl Problem {
    /// `title` names the kind, `detail` this occurrence and its remedy.
    pub(super) fn new(status: StatusCode, title: &str, detail: impl Into<String>) -> Self {
        let mut body = Map::new();
        body.insert("type".to_owned(), "about:blank".into());
        body.insert("title".to_owned(), title.into());
        body.insert("status".to_owned(), status.as_u16().into());
        body.insert("detail".to_owned(), detail.into().into());
        Self { status, body }
    }

    /// Adds a member for machines.
    pub(super) fn with(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.body.insert(name.to_owned(), value.into());
        self
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let kind = HeaderValue::from_static("application/problem+json");
        let body = Value::Object(self.body).to_string();
        (self.status, [(header::CONTENT_TYPE, kind)], body).into_response()
    }
}
