//! The help of flags that set an option of the library: the sentences of its documentation.

/// The tables of the library's options, in Markdown: option, default, meaning.
const TABLES: [&str; 2] = [
    include_str!("../../session-core/docs/options.md"),
    include_str!("../../session-core/docs/cookie-options.md"),
];

/// Returns what an option means.
pub(crate) fn meaning(option: &str) -> String {
    plain(row(option).meaning)
}

/// Returns the first sentence of what an option means.
pub(crate) fn summary(option: &str) -> String {
    let meaning = meaning(option);
    match meaning.split_once(". ") {
        Some((first, _)) => format!("{first}."),
        None => meaning,
    }
}

/// Returns what an option means, and its default in the form that clap prints for others.
pub(crate) fn meaning_and_default(option: &str) -> String {
    format!(
        "{} [default: {}]",
        meaning(option),
        plain(row(option).default)
    )
}

/// A row of a table.
struct Row {
    option: &'static str,
    default: &'static str,
    meaning: &'static str,
}

fn row(option: &str) -> Row {
    rows()
        .find(|row| row.option == option)
        .unwrap_or_else(|| panic!("the option {option} is not documented"))
}

fn rows() -> impl Iterator<Item = Row> {
    let lines = TABLES.into_iter().flat_map(str::lines);
    lines.filter_map(|line| {
        let line = line.strip_prefix("| `")?.strip_suffix(" |")?;
        let mut cells = line.splitn(3, " | ");
        Some(Row {
            option: cells.next()?.strip_suffix('`')?,
            default: cells.next()?,
            meaning: cells.next()?,
        })
    })
}

/// Removes the marks of code and the targets of links, which a terminal does not render.
fn plain(markdown: &str) -> String {
    let mut parts = markdown.split("](");
    let mut text = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let (_, rest) = part.split_once(')').unwrap_or(("", part));
        text += rest;
    }
    text.replace(['`', '['], "")
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;
    use crate::options::Options;

    /// Options whose values are code, those that stand for other options or a whole table, and those
    /// whose flag has another form.
    const WITHOUT_FLAG: [&str; 13] = [
        "list_sessions",
        "load_mode",
        "on_event",
        "timeouts",
        "transports",
        "cookie",
        "cookie_for",
        "commit_if",
        "id_source",
        "original_uri",
        "clock",
        "insecure_entropy",
        "express",
    ];

    #[test]
    fn every_option_of_the_library_has_a_flag_with_the_documented_help() {
        let command = Options::command();
        let mut checked = 0;
        for Row { option, .. } in rows() {
            let flag = command.get_arguments().find(|flag| flag.get_id() == option);
            if WITHOUT_FLAG.contains(&option) {
                assert!(flag.is_none(), "{option} has a flag");
                continue;
            }
            let flag = flag.unwrap_or_else(|| panic!("{option} has no flag"));
            let help = flag.get_help().expect("every flag has help").to_string();
            assert!(help.contains(&summary(option)), "{option}: {help}");
            checked += 1;
        }
        assert!(checked > 20, "only {checked} options found");
    }

    #[test]
    fn a_link_is_its_text() {
        let text = plain("A `NearCache` (a [near cache](crate::guide) or [two](x)).");
        assert_eq!(text, "A NearCache (a near cache or two).");
    }

    #[test]
    fn a_summary_is_the_first_sentence() {
        assert_eq!(
            summary("absolute_timeout"),
            "The longest life of a session, counted from the login, or from its creation if nobody \
             has logged in."
        );
        assert_eq!(
            meaning_and_default("idle_timeout"),
            "The longest gap between two requests of a session. [default: 30 minutes, or the \
             max_age of the cookie]"
        );
    }
}
