//! How the demo looks: headings, commands as one would type them, what they said, and what that shows.

use std::io::IsTerminal as _;

/// Colours when a person looks, plain text otherwise.
#[derive(Clone, Copy)]
pub(super) struct Screen {
    colour: bool,
}

/// Who types a command.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Who {
    Host,
    Client,
    Outsider,
}

impl Who {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Host => "host",
            Self::Client => "client",
            Self::Outsider => "outsider",
        }
    }

    const fn colour(self) -> &'static str {
        match self {
            Self::Host => "36",
            Self::Client => "32",
            Self::Outsider => "35",
        }
    }
}

/// Lines of a command's output that are shown; the rest is counted.
const MOST_LINES: usize = 14;

impl Screen {
    pub(super) fn new() -> Self {
        Self { colour: std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none() }
    }

    fn paint(self, code: &str, text: &str) -> String {
        if self.colour { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }

    pub(super) fn heading(self, number: u32, text: &str) {
        println!("\n{}", self.paint("1;34", &format!("━━ {number}. {text} ━━")));
    }

    pub(super) fn say(self, text: &str) {
        for line in text.lines() {
            println!("{}", self.paint("2", line));
        }
    }

    pub(super) fn command(self, who: Who, line: &str) {
        println!("{} {}", self.paint(who.colour(), &format!("{:>8} $", who.name())), self.paint("1", line));
    }

    pub(super) fn output(self, text: &str) {
        let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
        for line in lines.iter().take(MOST_LINES) {
            println!("           {line}");
        }
        if lines.len() > MOST_LINES {
            println!("           … {} more lines", lines.len() - MOST_LINES);
        }
    }

    pub(super) fn shows(self, text: &str) {
        println!("{} {text}", self.paint("1;32", "         ✓"));
    }

    pub(super) fn fails(self, text: &str) {
        println!("{} {text}", self.paint("1;31", "         ✗"));
    }
}
