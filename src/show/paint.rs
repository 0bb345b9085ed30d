//! Colours, and whether to use any.

/// What a word means: each meaning has a colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Paint {
    /// Nothing special.
    Plain,
    /// It went well.
    Good,
    /// It did not.
    Bad,
    /// Somebody has to do something.
    Warn,
    /// On its way.
    Busy,
    /// Beside the point.
    Dim,
}

/// What colours there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Palette {
    /// None.
    Plain,
    /// Those of a terminal.
    Terminal,
}

impl Palette {
    /// Colours only on a terminal that knows them, and never with `NO_COLOR` (<https://no-color.org>: set and not empty).
    pub fn of(is_terminal: bool, no_color: Option<&str>, term: Option<&str>) -> Self {
        let unwanted = no_color.is_some_and(|value| !value.is_empty());
        if is_terminal && !unwanted && term.is_none_or(|term| term != "dumb") {
            Self::Terminal
        } else {
            Self::Plain
        }
    }

    /// `text` in the colour of `paint`; as long on the screen as before.
    pub fn paint(self, paint: Paint, text: &str) -> String {
        let code = match (self, paint) {
            (Self::Plain, _) | (_, Paint::Plain) => return text.to_owned(),
            (Self::Terminal, Paint::Good) => "32",
            (Self::Terminal, Paint::Bad) => "31",
            (Self::Terminal, Paint::Warn) => "33",
            (Self::Terminal, Paint::Busy) => "36",
            (Self::Terminal, Paint::Dim) => "2",
        };
        if text.is_empty() {
            return String::new();
        }
        format!("\u{1b}[{code}m{text}\u{1b}[0m")
    }
}

impl Paint {
    /// For a phase of a run or the status of a step.
    pub fn of(status: &str) -> Self {
        match status {
            "Succeeded" => Self::Good,
            "Failed" | "TimedOut" => Self::Bad,
            "Cancelled" | "Paused" | "Blocked" | "Cancelling" | "Compensating" => Self::Warn,
            "Pending" | "Running" | "Waiting" | "Sleeping" | "Retrying" => Self::Busy,
            "Skipped" => Self::Dim,
            _ => Self::Plain,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_only_on_a_terminal_and_never_with_no_color() {
        let cases = [
            (true, None, Some("xterm"), Palette::Terminal),
            (true, None, None, Palette::Terminal),
            (false, None, Some("xterm"), Palette::Plain),
            (true, Some("1"), Some("xterm"), Palette::Plain),
            // Empty is not set.
            (true, Some(""), Some("xterm"), Palette::Terminal),
            (true, None, Some("dumb"), Palette::Plain),
        ];
        for (is_terminal, no_color, term, expected) in cases {
            assert_eq!(
                Palette::of(is_terminal, no_color, term),
                expected,
                "{is_terminal} {no_color:?} {term:?}"
            );
        }
    }

    #[test]
    fn without_colours_a_text_is_as_it_was() {
        assert_eq!(Palette::Plain.paint(Paint::Bad, "Failed"), "Failed");
        assert_eq!(
            Palette::Terminal.paint(Paint::Bad, "Failed"),
            "\u{1b}[31mFailed\u{1b}[0m"
        );
        assert_eq!(Palette::Terminal.paint(Paint::Bad, ""), "");
    }
}
