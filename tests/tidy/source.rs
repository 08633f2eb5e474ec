//! A Rust file as the rules see it: comments and the insides of strings blanked, so that words and braces in them do
//! not count, and functions found by their braces.
//!
//! A real parser would be exact and would be the largest dependency of the project; this reads formatted code, which
//! is what `cargo fmt --check` leaves.

/// One source file.
#[derive(Debug)]
pub(crate) struct Source {
    /// Relative to the checkout.
    pub(crate) path: String,
    /// As it is.
    pub(crate) text: String,
    /// The same, line by line, with comments, strings and characters blanked.
    code: Vec<String>,
    /// Where the tests at the end begin (index of a line), or the number of lines.
    tests_at: usize,
}

/// A function with a body.
#[derive(Debug)]
pub(crate) struct Function {
    pub(crate) name: String,
    /// Where it begins, from 1.
    pub(crate) line: usize,
    /// Lines of code from its name to its closing brace.
    pub(crate) lines: usize,
    /// Parameters, `self` not counted.
    pub(crate) parameters: usize,
}

impl Source {
    pub(crate) fn new(path: &str, text: &str) -> Self {
        let code: Vec<String> = blank(text).lines().map(str::to_owned).collect();
        let tests_at = (0..code.len()).find(|&i| begins_tests(&code, i)).unwrap_or(code.len());
        Self { path: path.to_owned(), text: text.to_owned(), code, tests_at }
    }

    /// Lines of code, tests at the end left out.
    pub(crate) fn code_lines(&self) -> usize {
        count_code(&self.code[..self.tests_at])
    }

    /// The first line (from 1) with this word in code.
    pub(crate) fn line_of_word(&self, word: &str) -> Option<usize> {
        let has = |line: &String| words(line).any(|found| found == word);
        self.code.iter().position(has).map(|index| index + 1)
    }

    /// All functions that have a body, those of the tests, too.
    pub(crate) fn functions(&self) -> Vec<Function> {
        let starts = (0..self.code.len()).filter_map(|i| Some((i, function_name(&self.code[i])?)));
        starts.filter_map(|(start, name)| self.function(start, name)).collect()
    }

    fn function(&self, start: usize, name: String) -> Option<Function> {
        let rest = self.code[start..].join("\n");
        let rest = &rest[rest.find("fn ")?..];
        let (open, close) = matching(rest, '(', ')')?;
        let parameters = count_parameters(&rest[open + 1..close]);
        let body_at = rest[close..].find(['{', ';'])? + close;
        if !rest[body_at..].starts_with('{') {
            return None;
        }
        let (_, end) = matching(&rest[body_at..], '{', '}')?;
        let all: Vec<String> = rest[..body_at + end].lines().map(str::to_owned).collect();
        Some(Function { name, line: start + 1, lines: count_code(&all), parameters })
    }
}

fn count_code(lines: &[String]) -> usize {
    lines.iter().filter(|line| !line.trim().is_empty()).count()
}

/// `#[cfg(test)]` (or one with more conditions) and a module below it.
fn begins_tests(code: &[String], i: usize) -> bool {
    let attribute = code[i].trim_start();
    let is_test = attribute.starts_with("#[cfg(") && words(attribute).any(|word| word == "test");
    let next = code[i + 1..].iter().find(|line| !line.trim_start().starts_with("#["));
    is_test
        && next.is_some_and(|line| line.trim_start().trim_start_matches("pub(crate) ").starts_with("mod "))
}

/// The name in a line such as `pub(crate) unsafe fn name<T>(`.
fn function_name(line: &str) -> Option<String> {
    let mut before = words(line).take_while(|word| *word != "fn");
    let allowed = ["pub", "crate", "super", "in", "const", "async", "unsafe", "extern", "C", "default"];
    if !words(line).any(|word| word == "fn") || !before.all(|word| allowed.contains(&word)) {
        return None;
    }
    let name = words(line).skip_while(|word| *word != "fn").nth(1)?;
    let is_named = line.contains(&format!("fn {name}"));
    is_named.then(|| name.to_owned())
}

fn words(line: &str) -> impl Iterator<Item = &str> {
    line.split(|c: char| !c.is_alphanumeric() && c != '_').filter(|word| !word.is_empty())
}

/// Where the first `open` is and where it is closed.
fn matching(text: &str, open: char, close: char) -> Option<(usize, usize)> {
    let start = text.find(open)?;
    let mut depth = 0;
    for (at, c) in text[start..].char_indices() {
        if c == open {
            depth += 1;
        } else if c == close {
            depth -= 1;
            if depth == 0 {
                return Some((start, start + at));
            }
        }
    }
    None
}

/// Commas outside of all brackets part the parameters; `self` is none of them.
fn count_parameters(list: &str) -> usize {
    let mut depth = 0_i32;
    let mut parts = vec![String::new()];
    for c in list.replace("->", "  ").chars() {
        match c {
            '(' | '[' | '<' => depth += 1,
            ')' | ']' | '>' => depth -= 1,
            _ => {}
        }
        if c == ',' && depth == 0 {
            parts.push(String::new());
        } else if let Some(last) = parts.last_mut() {
            last.push(c);
        }
    }
    parts.iter().filter(|part| !part.trim().is_empty() && words(part).all(|word| word != "self")).count()
}

/// What the scanner is inside of.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Inside {
    Code,
    LineComment,
    BlockComment(usize),
    Text,
    RawText(usize),
}

/// The text with everything blanked that is not code; line ends stay.
fn blank(text: &str) -> String {
    let chars: Vec<char> = text.chars().collect();
    let mut out = String::with_capacity(text.len());
    let mut inside = Inside::Code;
    let mut at = 0;
    while at < chars.len() {
        let (next, width, kept) = scan(&chars, at, inside);
        let here = &chars[at..(at + width).min(chars.len())];
        out.extend(here.iter().map(|&c| if kept || c == '\n' { c } else { ' ' }));
        inside = next;
        at += width;
    }
    out
}

/// At one place: what comes next, how many characters that took, and whether they are code.
fn scan(chars: &[char], at: usize, inside: Inside) -> (Inside, usize, bool) {
    let two = (chars[at], chars.get(at + 1).copied().unwrap_or('\0'));
    match inside {
        Inside::Code => scan_code(chars, at, two),
        Inside::LineComment if two.0 == '\n' => (Inside::Code, 1, false),
        Inside::LineComment => (inside, 1, false),
        Inside::BlockComment(depth) => match two {
            ('/', '*') => (Inside::BlockComment(depth + 1), 2, false),
            ('*', '/') if depth == 1 => (Inside::Code, 2, false),
            ('*', '/') => (Inside::BlockComment(depth - 1), 2, false),
            _ => (inside, 1, false),
        },
        Inside::Text => match two.0 {
            '\\' => (inside, 2, false),
            '"' => (Inside::Code, 1, false),
            _ => (inside, 1, false),
        },
        Inside::RawText(hashes) => {
            let closes = two.0 == '"' && (1..=hashes).all(|n| chars.get(at + n) == Some(&'#'));
            if closes { (Inside::Code, 1 + hashes, false) } else { (inside, 1, false) }
        }
    }
}

fn scan_code(chars: &[char], at: usize, two: (char, char)) -> (Inside, usize, bool) {
    match two {
        ('/', '/') => (Inside::LineComment, 2, false),
        ('/', '*') => (Inside::BlockComment(1), 2, false),
        ('"', _) => (Inside::Text, 1, false),
        ('r', '"' | '#') if !follows_word(chars, at) => {
            let hashes = chars[at + 1..].iter().take_while(|c| **c == '#').count();
            let is_text = chars.get(at + 1 + hashes) == Some(&'"');
            if is_text { (Inside::RawText(hashes), 2 + hashes, false) } else { (Inside::Code, 1, true) }
        }
        ('\'', _) => match character_width(chars, at) {
            Some(width) => (Inside::Code, width, false),
            None => (Inside::Code, 1, true),
        },
        _ => (Inside::Code, 1, true),
    }
}

/// `r` begins a raw string only where no name goes on; `br"` does.
fn follows_word(chars: &[char], at: usize) -> bool {
    let before = |n: usize| at.checked_sub(n).and_then(|i| chars.get(i)).copied();
    match before(1) {
        Some('b') => before(2).is_some_and(is_word),
        Some(c) => is_word(c),
        None => false,
    }
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// Length of a character literal, or nothing for a lifetime.
fn character_width(chars: &[char], at: usize) -> Option<usize> {
    if chars.get(at + 1) == Some(&'\\') {
        let end = chars[at + 3..].iter().position(|c| *c == '\'')?;
        return Some(at + 3 + end + 1 - at);
    }
    (chars.get(at + 2) == Some(&'\'')).then_some(3)
}

#[cfg(test)]
mod test {
    use super::*;

    #[test]
    fn comments_and_texts_are_blanked_and_lifetimes_are_not() {
        let code =
            blank("a /* { /* } */ x */ b \"c\\\" {\" d r#\"{\"\"#; e '{' f '\\'' g: &'static u // {\nh");
        assert_eq!(code.split_whitespace().collect::<String>(), "abd;efg:&'staticuh");
    }

    #[test]
    fn functions_are_measured() {
        let text =
            "//! x\nfn a(&self, b: Fn(u8, u8) -> C<D, E>, f: u8) -> u8 {\n    // why\n\n    1\n}\nfn b();\n";
        let functions = Source::new("x.rs", text).functions();
        assert_eq!(functions.len(), 1);
        let Function { name, line, lines, parameters } = &functions[0];
        assert_eq!((name.as_str(), *line, *lines, *parameters), ("a", 2, 2, 2));
    }

    #[test]
    fn tests_at_the_end_do_not_count_as_code() {
        let source = Source::new("x.rs", "fn a() {}\n\n#[cfg(test)]\nmod test {\n    fn b() {}\n}\n");
        assert_eq!(source.code_lines(), 1);
    }
}
