//! Colour: when, and which.

use anstyle::AnsiColor;
use clap::ValueEnum;

/// Whether to colour the output.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Color {
    /// On a terminal, unless NO_COLOR is set or TERM is dumb
    #[default]
    Auto,
    /// Also off a terminal
    Always,
    /// Not at all
    Never,
}

impl Color {
    /// Whether a stream that is or is no terminal gets colour.
    /// <https://no-color.org>: any value of `NO_COLOR` but the empty one counts.
    pub(crate) fn wanted(self, is_terminal: bool) -> bool {
        match self {
            Self::Always => true,
            Self::Never => false,
            Self::Auto => {
                is_terminal
                    && !anstyle_query::no_color()
                    && std::env::var_os("TERM").is_none_or(|term| term != "dumb")
            }
        }
    }

    /// The choice as it stands in raw arguments: for errors in these arguments themselves.
    pub(crate) fn from_args(args: &[std::ffi::OsString]) -> Self {
        let mut color = Self::Auto;
        for (i, arg) in args.iter().enumerate() {
            let Some(arg) = arg.to_str() else { continue };
            let value = match arg.strip_prefix("--color") {
                Some("") => args.get(i + 1).and_then(|next| next.to_str()),
                Some(rest) => rest.strip_prefix('='),
                None => None,
            };
            if let Some(Ok(known)) = value.map(|value| Self::from_str(value, false)) {
                color = known;
            }
        }
        color
    }
}

/// What a piece of text is, and so how it looks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Style {
    #[default]
    Plain,
    /// Column heads, names.
    Bold,
    /// What matters less.
    Dim,
    /// Well.
    Good,
    /// To look at.
    Warn,
    /// Wrong, or refused.
    Bad,
}

impl Style {
    /// How it looks: written before the text, and as `{:#}` behind it.
    pub(crate) const fn look(self) -> anstyle::Style {
        match self {
            Self::Plain => anstyle::Style::new(),
            Self::Bold => anstyle::Style::new().bold(),
            Self::Dim => anstyle::Style::new().dimmed(),
            Self::Good => AnsiColor::Green.on_default(),
            Self::Warn => AnsiColor::Yellow.on_default(),
            Self::Bad => AnsiColor::Red.on_default(),
        }
    }

    /// How the word of an action or a severity looks.
    pub(crate) fn of_word(word: &str) -> Self {
        match word {
            "block" | "high" | "critical" => Self::Bad,
            "redact" | "alert" | "medium" => Self::Warn,
            "allow" => Self::Good,
            "none" | "low" => Self::Dim,
            _ => Self::Plain,
        }
    }
}
