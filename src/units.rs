//! Vocabulary: quantities with their units. Finite by construction; imports nothing of ours.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A rate in messages per second: finite and not negative.
#[derive(Clone, Copy, Debug, Default, PartialEq, PartialOrd)]
pub struct MessagesPerSecond(f64);

impl MessagesPerSecond {
    /// The rate of zero: only a person's pause sets it.
    pub const ZERO: Self = Self(0.0);

    /// `None` when `value` is negative, infinite or not a number.
    #[must_use]
    pub fn new(value: f64) -> Option<Self> {
        (value.is_finite() && value >= 0.0).then_some(Self(value))
    }

    /// The bare number, in messages per second.
    #[must_use]
    pub const fn get(self) -> f64 {
        self.0
    }
}

impl Serialize for MessagesPerSecond {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_f64(self.0)
    }
}

impl<'de> Deserialize<'de> for MessagesPerSecond {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = f64::deserialize(deserializer)?;
        Self::new(value).ok_or_else(|| serde::de::Error::custom("a rate is a number of messages/s ≥ 0"))
    }
}

/// A ceiling on a rate: none at all, or so many messages per second.
///
/// In JSON a number in messages per second, or `"unlimited"`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum RateLimit {
    /// No limit.
    Unlimited,
    /// At most this many messages per second.
    At(MessagesPerSecond),
}

impl RateLimit {
    /// A pause: nothing passes.
    pub const PAUSED: Self = Self::At(MessagesPerSecond::ZERO);

    /// From a bare number in messages per second: `+∞` is [`RateLimit::Unlimited`].
    /// `None` when `value` is negative or not a number.
    #[must_use]
    pub fn from_f64(value: f64) -> Option<Self> {
        if value == f64::INFINITY {
            return Some(Self::Unlimited);
        }
        MessagesPerSecond::new(value).map(Self::At)
    }

    /// The bare number in messages per second; `+∞` for no limit.
    #[must_use]
    pub const fn as_f64(self) -> f64 {
        match self {
            Self::Unlimited => f64::INFINITY,
            Self::At(rate) => rate.0,
        }
    }

    /// Whether there is no limit.
    #[must_use]
    pub const fn is_unlimited(self) -> bool {
        matches!(self, Self::Unlimited)
    }

    /// The tighter of two limits.
    #[must_use]
    pub fn min(self, other: Self) -> Self {
        if self.as_f64() <= other.as_f64() { self } else { other }
    }
}

impl fmt::Display for RateLimit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unlimited => f.write_str("unlimited"),
            Self::At(rate) => write!(f, "{}/s", HumanCount(rate.0)),
        }
    }
}

impl Serialize for RateLimit {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Unlimited => serializer.serialize_str("unlimited"),
            Self::At(rate) => serializer.serialize_f64(rate.0),
        }
    }
}

impl<'de> Deserialize<'de> for RateLimit {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Raw {
            Number(f64),
            Word(String),
        }
        let found = match Raw::deserialize(deserializer)? {
            Raw::Number(value) => Self::from_f64(value),
            Raw::Word(word) => (word == "unlimited").then_some(Self::Unlimited),
        };
        found.ok_or_else(|| serde::de::Error::custom("a rate is a number of messages/s ≥ 0, or \"unlimited\""))
    }
}

/// A count or a rate as a person reads it: `1,090`, `0.4`, `12.5`.
#[derive(Clone, Copy, Debug)]
pub struct HumanCount(pub f64);

impl fmt::Display for HumanCount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let value = self.0;
        if !value.is_finite() {
            return f.write_str(if value > 0.0 { "unlimited" } else { "unknown" });
        }
        if value.abs() < 10.0 && value.fract().abs() > 0.049 {
            return write!(f, "{value:.1}");
        }
        let digits = format!("{:.0}", value.abs());
        let mut grouped = String::with_capacity(digits.len() + digits.len() / 3 + 1);
        if value <= -0.5 {
            grouped.push('-');
        }
        for (index, digit) in digits.chars().enumerate() {
            if index > 0 && (digits.len() - index).is_multiple_of(3) {
                grouped.push(',');
            }
            grouped.push(digit);
        }
        f.write_str(&grouped)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_finite_and_not_negative() {
        for bad in [f64::NAN, f64::INFINITY, -1.0] {
            assert_eq!(MessagesPerSecond::new(bad), None, "{bad}");
        }
        assert_eq!(MessagesPerSecond::new(0.1).map(MessagesPerSecond::get), Some(0.1));
    }

    #[test]
    fn a_limit_survives_json() {
        for limit in [RateLimit::Unlimited, RateLimit::PAUSED, RateLimit::from_f64(12.5).unwrap()] {
            let text = serde_json::to_string(&limit).unwrap();
            assert_eq!(serde_json::from_str::<RateLimit>(&text).unwrap(), limit);
        }
        assert_eq!(serde_json::to_string(&RateLimit::Unlimited).unwrap(), "\"unlimited\"");
        assert!(serde_json::from_str::<RateLimit>("-3").is_err());
    }

    #[test]
    fn people_read_thousands_grouped() {
        for (value, text) in [
            (0.0, "0"),
            (0.4, "0.4"),
            (9.96, "10.0"),
            (12.4, "12"),
            (1090.0, "1,090"),
            (1_000_000.0, "1,000,000"),
            (-4200.0, "-4,200"),
        ] {
            assert_eq!(HumanCount(value).to_string(), text);
        }
    }
}
