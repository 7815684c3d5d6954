//! The sidecar: the engine for programs in any language.

pub mod http;
