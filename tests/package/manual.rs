//! The manual pages and completions of the package, made from what the program itself is made of: its command line, its exit codes, and
//! `config/capsd.toml`, of which the tests of the configuration prove that it holds every key with its default and bounds.

use std::fmt::Write as _;
use std::io;

use capsd::cli::{self, Exit};
use clap::Command;
use clap_complete::Shell;
use clap_mangen::Man;

/// The commented example, which describes every key.
pub(crate) const EXAMPLE: &str = include_str!("../../config/capsd.toml");

const CHANGELOG: &str = include_str!("../../CHANGELOG.md");

/// A file of the package: its name and content.
pub(crate) type File = (String, Vec<u8>);

/// The day of the release that is described, from the change log: pages that say when they were built would differ in every build.
pub(crate) fn date() -> &'static str {
    let version = concat!("## [", env!("CARGO_PKG_VERSION"), "] - ");
    let heading = CHANGELOG
        .lines()
        .find_map(|line| line.strip_prefix(version));
    heading.expect("CHANGELOG.md has a heading for this version, with a date")
}

fn command() -> Command {
    let mut command = cli::command().disable_help_subcommand(true);
    command.build();
    command
}

/// capsd(1), and a page for each command.
pub(crate) fn command_pages() -> io::Result<Vec<File>> {
    let whole = command();
    let mut pages = vec![("capsd.1".to_owned(), page(&whole, &whole, &closing())?)];
    for sub in whole.get_subcommands() {
        let name = format!("capsd-{}", sub.get_name());
        let see = ".SH \"SEE ALSO\"\n\\fBcapsd\\fR(1), which lists the exit codes, \\fBcapsd.toml\\fR(5)\n";
        pages.push((
            format!("{name}.1"),
            page(&whole, &sub.clone().display_name(name), see)?,
        ));
    }
    Ok(pages)
}

fn page(whole: &Command, command: &Command, closing: &str) -> io::Result<Vec<u8>> {
    let title = command.get_display_name().unwrap_or(command.get_name());
    let man = Man::new(command.clone())
        .title(title)
        .date(date())
        .source(format!("capsd {}", env!("CARGO_PKG_VERSION")))
        .manual("XMPP entity capabilities");
    let mut page = Vec::new();
    man.render_title(&mut page)?;
    man.render_name_section(&mut page)?;
    man.render_synopsis_section(&mut page)?;
    man.render_description_section(&mut page)?;
    man.render_options_section(&mut page)?;
    if command.get_name() == whole.get_name() {
        man.render_subcommands_section(&mut page)?;
    }
    page.extend_from_slice(closing.as_bytes());
    Ok(page)
}

/// What SIGHUP does, in the words of the command that does the same.
fn reload() -> String {
    let whole = command();
    let about = whole
        .find_subcommand("reload")
        .and_then(Command::get_about)
        .expect("`capsd reload` says what it does")
        .to_string();
    format!(
        "{}{}, as `capsd reload` does; the log says what was applied, what needs a restart, and what is at fault: then nothing is changed",
        about[..1].to_lowercase(),
        &about[1..]
    )
}

/// What capsd(1) says after its commands.
fn closing() -> String {
    let mut text = String::from(".SH \"EXIT STATUS\"\n");
    for exit in Exit::ALL {
        let _ = write!(
            text,
            ".TP\n\\fB{}\\fR\n{}\n",
            exit.code(),
            prose(exit.meaning())
        );
    }
    text.push_str(".SH SIGNALS\n");
    for (signal, meaning) in [
        (
            "SIGTERM, SIGINT",
            "end in good order, within five seconds; a second one ends at once",
        ),
        ("SIGHUP", &reload()),
    ] {
        let _ = write!(text, ".TP\n\\fB{signal}\\fR\n{}\n", prose(meaning));
    }
    text.push_str(".SH ENVIRONMENT\n");
    for (name, meaning) in [
        (
            capsd::trace::VARIABLE,
            "overrides `level` of `[log]`; it can set levels of parts, as in `info,capsd::resolver=debug`",
        ),
        (
            "NO_COLOR",
            "where it is set, the log has no colours on a terminal either",
        ),
        (
            "CREDENTIALS_DIRECTORY",
            "where systemd put the credential `secret`; see capsd.toml(5)",
        ),
        (
            "NOTIFY_SOCKET, WATCHDOG_USEC",
            "whom `capsd run` tells that it is ready, ends and lives; see sd_notify(3)",
        ),
    ] {
        let _ = write!(text, ".TP\n\\fB{name}\\fR\n{}\n", prose(meaning));
    }
    text.push_str(".SH FILES\n");
    for (name, meaning) in [
        (
            capsd::config::DEFAULT_PATH,
            "the configuration; see capsd.toml(5)",
        ),
        (
            capsd::config::DEFAULT_SECRET_FILE,
            "the secret of the component",
        ),
        ("/var/lib/capsd", "what was learned"),
        ("/usr/share/capsd/trusted", "what is trusted"),
        (capsd::config::DEFAULT_SOCKET, "the control socket"),
    ] {
        let _ = write!(text, ".TP\n\\fI{name}\\fR\n{}\n", prose(meaning));
    }
    text.push_str(".SH \"SEE ALSO\"\n\\fBcapsd.toml\\fR(5)");
    for sub in command().get_subcommands() {
        let _ = write!(text, ",\n\\fBcapsd\\-{}\\fR(1)", sub.get_name());
    }
    text.push('\n');
    text
}

/// Plain text with `literals`, as roff: no line begins with a request, literals are bold with hyphens that can be copied.
fn prose(text: &str) -> String {
    let mut roff = String::new();
    for (place, part) in text.split('`').enumerate() {
        let part = part.replace('\\', "\\e");
        match place % 2 {
            0 => roff.push_str(&part),
            _ => {
                let _ = write!(roff, "\\fB{}\\fR", part.replace('-', "\\-"));
            }
        }
    }
    match roff.starts_with(['.', '\'']) {
        true => format!("\\&{roff}"),
        false => roff,
    }
}

/// A part of the example: comment lines, then what they are about.
struct Part<'t> {
    comment: Vec<&'t str>,
    /// `[section]`, or `key = value` lines without the comment sign.
    lines: Vec<&'t str>,
}

fn parts(example: &str) -> Vec<Part<'_>> {
    let blocks = example.split("\n\n").map(|block| block.trim_matches('\n'));
    let mut parts = Vec::new();
    for block in blocks.filter(|block| !block.is_empty()) {
        let mut part = Part {
            comment: Vec::new(),
            lines: Vec::new(),
        };
        for line in block.lines() {
            let is_key = line
                .trim_start_matches('#')
                .starts_with(|first: char| first.is_ascii_lowercase());
            match line.strip_prefix('#') {
                Some(key) if is_key => part.lines.push(key),
                Some(comment) => {
                    // A comment after a line begins the next part.
                    if !part.lines.is_empty() {
                        parts.push(std::mem::replace(
                            &mut part,
                            Part {
                                comment: Vec::new(),
                                lines: Vec::new(),
                            },
                        ));
                    }
                    part.comment
                        .push(comment.strip_prefix(' ').unwrap_or(comment));
                }
                None if line.starts_with('[') => {
                    part.lines.push(line);
                    parts.push(std::mem::replace(
                        &mut part,
                        Part {
                            comment: Vec::new(),
                            lines: Vec::new(),
                        },
                    ));
                }
                None => part.lines.push(line),
            }
        }
        if !part.comment.is_empty() || !part.lines.is_empty() {
            parts.push(part);
        }
    }
    parts
}

/// Comment lines as roff: those that are indented stay as they are, all others are one paragraph up to an empty one.
fn paragraphs(comment: &[&str]) -> String {
    let mut roff = String::new();
    let mut in_table = false;
    let mut separated = false;
    for line in comment {
        if line.is_empty() {
            separated = true;
            continue;
        }
        let table = line.starts_with("  ");
        if in_table && !table {
            roff.push_str(".fi\n");
        }
        if separated || table != in_table {
            roff.push_str(".PP\n");
        }
        if table && !in_table {
            roff.push_str(".nf\n");
        }
        let _ = writeln!(roff, "{line}");
        (in_table, separated) = (table, false);
    }
    if in_table {
        roff.push_str(".fi\n");
    }
    roff
}

/// capsd.toml(5), from the commented example.
pub(crate) fn configuration_page() -> Vec<u8> {
    let mut page = format!(
        ".ie \\n(.g .ds Aq \\(aq\n.el .ds Aq '\n.TH capsd.toml 5 {} \"capsd {}\" \"XMPP entity capabilities\"\n.SH NAME\ncapsd.toml \\- the \
         configuration of capsd\n.SH DESCRIPTION\n",
        date(),
        env!("CARGO_PKG_VERSION")
    );
    let mut in_component = false;
    for part in parts(EXAMPLE) {
        let comment: Vec<_> = part.comment.iter().map(|line| prose(line)).collect();
        let comment: Vec<_> = comment.iter().map(String::as_str).collect();
        match part.lines.first() {
            None => page.push_str(&paragraphs(&comment)),
            Some(section) if section.starts_with('[') => {
                in_component = section.starts_with("[[");
                let _ = write!(page, ".SH \"{section}\"\n{}", paragraphs(&comment));
            }
            Some(_) => {
                for (place, line) in part.lines.iter().enumerate() {
                    let (key, value) = line.split_once(" = ").unwrap_or((line, ""));
                    let value = value.replace('\\', "\\e").replace('-', "\\-");
                    let is = match in_component && value != "[]" {
                        true => "as in",
                        false => "default",
                    };
                    let tag = if place == 0 { ".TP" } else { ".TQ" };
                    let _ = write!(
                        page,
                        "{tag}\n\\fB{}\\fR ({is} {value})\n",
                        key.replace('-', "\\-")
                    );
                }
                page.push_str(&paragraphs(&comment));
            }
        }
    }
    page.push_str(".SH \"SEE ALSO\"\n\\fBcapsd\\fR(1), \\fBcapsd\\-check\\fR(1)\n");
    page.into_bytes()
}

/// Completions: for bash, zsh and fish, under the names that these shells look for.
pub(crate) fn completions() -> Vec<File> {
    let shells = [
        (Shell::Bash, "capsd"),
        (Shell::Zsh, "_capsd"),
        (Shell::Fish, "capsd.fish"),
    ];
    let made = shells.map(|(shell, name)| {
        let mut script = Vec::new();
        clap_complete::generate(shell, &mut cli::command(), "capsd", &mut script);
        (name.to_owned(), script)
    });
    made.into()
}
