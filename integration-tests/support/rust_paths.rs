//! The paths that a Rust source names (`use` trees spread out, expressions and types too), without parsing Rust.
//!
//! Comments, strings and `#[cfg(test)]` modules are left out. Enough for layering checks; not a compiler: what a macro
//! puts together is not seen.

/// One path of a source.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Found {
    /// The line it stands on, from 1.
    pub(crate) line: usize,
    /// `crate::lag::Snapshot` → `["crate", "lag", "Snapshot"]`.
    pub(crate) segments: Vec<String>,
    /// Whether a `use` names it.
    pub(crate) imported: bool,
    /// Whether a `!` follows it.
    pub(crate) called_as_macro: bool,
}

/// Every path in `text`, `use` trees spread out, in the order of the source.
pub(crate) fn paths_of(text: &str) -> Vec<Found> {
    let tokens = without_tests(tokens_of(text));
    let mut found = Vec::new();
    let mut at = 0;
    let mut imported = false;
    while let Some((token, _)) = tokens.get(at) {
        match token {
            Token::Word(word) if word == "use" => {
                imported = true;
                at += 1;
            }
            Token::Word(_) => at = path_at(&tokens, at, &[], imported, &mut found),
            Token::Sign(';') => {
                imported = false;
                at += 1;
            }
            Token::Open if imported => at = tree_at(&tokens, at, &[], &mut found),
            Token::Sign(_) | Token::Colons | Token::Open | Token::Close => at += 1,
        }
    }
    found
}

#[derive(Debug, PartialEq, Eq)]
enum Token {
    Word(String),
    /// `::`
    Colons,
    /// `{`
    Open,
    /// `}`
    Close,
    /// Anything else, one character.
    Sign(char),
}

type Placed = (Token, usize);

/// Reads the path that starts at the word `at`; returns where it ends.
fn path_at(tokens: &[Placed], mut at: usize, prefix: &[String], imported: bool, found: &mut Vec<Found>) -> usize {
    let line = tokens[at].1;
    let mut segments = prefix.to_vec();
    while let Some((Token::Word(word), _)) = tokens.get(at) {
        segments.push(word.clone());
        at += 1;
        if !matches!(tokens.get(at), Some((Token::Colons, _))) {
            break;
        }
        at += 1;
        if imported && matches!(tokens.get(at), Some((Token::Open, _))) {
            return tree_at(tokens, at, &segments, found);
        }
    }
    let called_as_macro = matches!(tokens.get(at), Some((Token::Sign('!'), _)))
        && !matches!(tokens.get(at + 1), Some((Token::Sign('='), _)));
    found.push(Found { line, segments, imported, called_as_macro });
    at
}

/// Reads the `{…}` of a `use` that starts at `at`; returns where it ends.
fn tree_at(tokens: &[Placed], mut at: usize, prefix: &[String], found: &mut Vec<Found>) -> usize {
    at += 1;
    while let Some((token, _)) = tokens.get(at) {
        match token {
            Token::Close => return at + 1,
            Token::Word(_) => at = path_at(tokens, at, prefix, true, found),
            Token::Open | Token::Colons | Token::Sign(_) => at += 1,
        }
    }
    at
}

/// Drops the module or item that follows each `#[cfg(test)]`.
fn without_tests(tokens: Vec<Placed>) -> Vec<Placed> {
    let mark = [
        Token::Sign('#'),
        Token::Sign('['),
        Token::Word("cfg".to_owned()),
        Token::Sign('('),
        Token::Word("test".to_owned()),
        Token::Sign(')'),
        Token::Sign(']'),
    ];
    let mut kept = Vec::with_capacity(tokens.len());
    let mut rest = tokens.into_iter().peekable();
    while let Some(placed) = rest.next() {
        kept.push(placed);
        if kept.len() < mark.len() || !kept[kept.len() - mark.len()..].iter().map(|(token, _)| token).eq(mark.iter()) {
            continue;
        }
        let mut depth = 0_usize;
        for (token, _) in rest.by_ref() {
            match token {
                Token::Open => depth += 1,
                Token::Close if depth <= 1 => break,
                Token::Close => depth -= 1,
                Token::Sign(';') if depth == 0 => break,
                Token::Word(_) | Token::Colons | Token::Sign(_) => {}
            }
        }
    }
    kept
}

fn tokens_of(text: &str) -> Vec<Placed> {
    let chars: Vec<char> = text.chars().collect();
    let mut tokens = Vec::new();
    let mut at = 0;
    let mut line = 1;
    while at < chars.len() {
        let from = at;
        match chars[at] {
            '/' if chars.get(at + 1) == Some(&'/') => at = after_line(&chars, at),
            '/' if chars.get(at + 1) == Some(&'*') => at = after_block_comment(&chars, at),
            '"' => at = after_string(&chars, at),
            '\'' => at = after_quote(&chars, at),
            'r' | 'b' | 'c' if raw_hashes(&chars, at).is_some() => at = after_raw_string(&chars, at),
            c if c.is_alphabetic() || c == '_' => {
                while at < chars.len() && (chars[at].is_alphanumeric() || chars[at] == '_') {
                    at += 1;
                }
                tokens.push((Token::Word(chars[from..at].iter().collect()), line));
            }
            ':' if chars.get(at + 1) == Some(&':') => {
                tokens.push((Token::Colons, line));
                at += 2;
            }
            c => {
                match c {
                    '{' => tokens.push((Token::Open, line)),
                    '}' => tokens.push((Token::Close, line)),
                    c if c.is_whitespace() || c.is_numeric() => {}
                    c => tokens.push((Token::Sign(c), line)),
                }
                at += 1;
            }
        }
        line += chars[from..at].iter().filter(|c| **c == '\n').count();
    }
    tokens
}

fn after_line(chars: &[char], mut at: usize) -> usize {
    while at < chars.len() && chars[at] != '\n' {
        at += 1;
    }
    at
}

fn after_block_comment(chars: &[char], mut at: usize) -> usize {
    let mut depth = 0;
    while at < chars.len() {
        match (chars[at], chars.get(at + 1)) {
            ('/', Some('*')) => (depth, at) = (depth + 1, at + 2),
            ('*', Some('/')) => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
        if depth == 0 {
            break;
        }
    }
    at
}

fn after_string(chars: &[char], mut at: usize) -> usize {
    at += 1;
    while at < chars.len() && chars[at] != '"' {
        at += if chars[at] == '\\' { 2 } else { 1 };
    }
    (at + 1).min(chars.len())
}

/// A character in quotes is skipped whole; a lifetime loses only its quote.
fn after_quote(chars: &[char], at: usize) -> usize {
    if chars.get(at + 1) == Some(&'\\') {
        let mut end = at + 3;
        while end < chars.len() && chars[end] != '\'' {
            end += 1;
        }
        return (end + 1).min(chars.len());
    }
    if chars.get(at + 2) == Some(&'\'') { at + 3 } else { at + 1 }
}

/// The number of `#` of the raw string (or of none, for `b"…"`) that starts at `at`.
fn raw_hashes(chars: &[char], at: usize) -> Option<(usize, usize)> {
    if at > 0 && (chars[at - 1].is_alphanumeric() || chars[at - 1] == '_') {
        return None;
    }
    let raw = (at..chars.len().min(at + 2)).find(|i| chars[*i] == 'r')?;
    let hashes = chars[raw + 1..].iter().take_while(|c| **c == '#').count();
    (chars.get(raw + 1 + hashes) == Some(&'"')).then_some((raw + 1 + hashes, hashes))
}

fn after_raw_string(chars: &[char], at: usize) -> usize {
    let Some((quote, hashes)) = raw_hashes(chars, at) else { return at + 1 };
    let mut end = quote + 1;
    while end < chars.len() {
        if chars[end] == '"' && chars[end + 1..].iter().take_while(|c| **c == '#').count() >= hashes {
            return end + 1 + hashes;
        }
        end += 1;
    }
    end
}
