//! Pure: a Rust file as the rules see it: its text, and its code with comments and literals blanked.
//!
//! A rule that looks for `crate::proxy` must not stumble over a sentence that mentions it.

use super::Finding;

/// One file of the repository.
pub(super) struct Source {
    /// Relative to the root, with slashes.
    pub(super) path: String,
    pub(super) text: String,
    /// `text` with every comment, string and character literal replaced by spaces; lines stay where they are.
    pub(super) code: String,
}

impl Source {
    pub(super) fn new(path: &str, text: &str) -> Self {
        Self { path: path.to_owned(), text: text.to_owned(), code: blank(text) }
    }

    /// A breach at a byte of `code`.
    pub(super) fn breach_at(&self, offset: usize, what: &str) -> Finding {
        let line = self.code.get(..offset).unwrap_or_default().matches('\n').count() + 1;
        self.finding(line, what, true)
    }

    pub(super) fn finding(&self, line: usize, what: &str, fatal: bool) -> Finding {
        Finding { text: format!("{}:{line}: {what}", self.path), fatal }
    }

    /// The byte in `code` where the file's tests begin, or its end.
    pub(super) fn tests_begin(&self) -> usize {
        self.code.find("#[cfg(test)]").unwrap_or(self.code.len())
    }

    /// Offsets in `code` at which `word` stands as a path segment or identifier of its own.
    pub(super) fn find_word<'a>(&'a self, word: &'a str) -> impl Iterator<Item = usize> + 'a {
        let is_part = |byte: Option<&u8>| byte.is_some_and(|b| b.is_ascii_alphanumeric() || *b == b'_');
        self.code.match_indices(word).map(|(offset, _)| offset).filter(move |offset| {
            let bytes = self.code.as_bytes();
            let before = offset.checked_sub(1).and_then(|i| bytes.get(i));
            !is_part(before) && !is_part(bytes.get(offset + word.len()))
        })
    }
}

/// Blanks comments (nested too), strings (raw and byte too) and character literals; keeps line ends.
fn blank(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    let mut previous = ' ';
    while let Some(first) = rest.chars().next() {
        let length = literal_or_comment(rest, previous);
        let taken = if length == 0 { first.len_utf8() } else { length };
        let (head, tail) = rest.split_at(taken);
        if length == 0 {
            out.push_str(head);
        } else {
            // As many bytes as before, so that offsets hold.
            out.extend(head.bytes().map(|byte| if byte == b'\n' { '\n' } else { ' ' }));
        }
        previous = first;
        rest = tail;
    }
    out
}

/// The length of the comment or literal that `rest` begins with, 0 if it begins with neither.
fn literal_or_comment(rest: &str, previous: char) -> usize {
    if rest.starts_with("//") {
        return rest.find('\n').unwrap_or(rest.len());
    }
    if rest.starts_with("/*") {
        return block_comment(rest);
    }
    if rest.starts_with('"') {
        return quoted(rest, '"').unwrap_or(rest.len());
    }
    if let Some(character) = rest.strip_prefix('\'') {
        // A lifetime has no closing quote right after its first character.
        let escaped = character.starts_with('\\');
        let closed = character.chars().nth(1) == Some('\'');
        return if escaped || closed { quoted(rest, '\'').unwrap_or(0) } else { 0 };
    }
    let starts_word = !(previous.is_ascii_alphanumeric() || previous == '_');
    if let Some(raw) = rest.strip_prefix("br").or(rest.strip_prefix('r')).filter(|_| starts_word) {
        let hashes = raw.bytes().take_while(|byte| *byte == b'#').count();
        if raw.get(hashes..).is_some_and(|quote| quote.starts_with('"')) {
            let close = format!("\"{}", "#".repeat(hashes));
            let skipped = rest.len() - raw.len() + hashes + 1;
            let body = rest.get(skipped..).unwrap_or_default();
            return body.find(&close).map_or(rest.len(), |end| skipped + end + close.len());
        }
    }
    0
}

fn block_comment(rest: &str) -> usize {
    let mut depth = 0_usize;
    let mut at = 0;
    while let Some(here) = rest.get(at..).filter(|here| !here.is_empty()) {
        if here.starts_with("/*") {
            depth += 1;
            at += 2;
        } else if here.starts_with("*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return at;
            }
        } else {
            at += here.chars().next().map_or(1, char::len_utf8);
        }
    }
    rest.len()
}

/// The length of a literal that begins and ends with `quote`, escapes heeded.
fn quoted(rest: &str, quote: char) -> Option<usize> {
    let mut escaped = false;
    for (offset, character) in rest.char_indices().skip(1) {
        match character {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            _ if character == quote => return Some(offset + quote.len_utf8()),
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_and_literals_are_blank_and_code_stays() {
        let text =
            "a(\"// b\"); // c\nlet d: &'static str = r#\"e \" f\"#; /* g /* h */ i */ 'j'; '\\''; k\n";
        let code = Source::new("x.rs", text).code;
        assert_eq!(code.len(), text.len());
        let words: Vec<_> = code.split_whitespace().collect();
        assert_eq!(words, ["a(", ");", "let", "d:", "&'static", "str", "=", ";", ";", ";", "k"]);
    }

    #[test]
    fn words_are_whole_words_and_lines_are_counted() {
        let source = Source::new("x.rs", "\nrand_x; brand; rand\n");
        let found: Vec<_> = source.find_word("rand").collect();
        assert_eq!(found.len(), 1);
        assert_eq!(source.breach_at(found[0], "no").text, "x.rs:2: no");
    }
}
