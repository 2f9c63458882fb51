//! A terminal's whole screen, for a report that is kept up to date: keys as they are pressed, and everything as before in the end.

use std::io::{self, IsTerminal as _, Write as _};
use std::sync::{Mutex, PoisonError};

use rustix::termios::{
    LocalModes, OptionalActions, SpecialCodeIndex, Termios, tcgetattr, tcgetwinsize, tcsetattr,
};

/// Its second screen, without a cursor; the way back.
const OPEN: &str = "\x1b[?1049h\x1b[?25l";
const CLOSE: &str = "\x1b[?25h\x1b[?1049l";

/// How lines that do not fit go on.
const INDENT: &str = "    ";

/// How the terminal was before; none while no screen is open. One process has one terminal.
static BEFORE: Mutex<Option<Before>> = Mutex::new(None);

struct Before {
    /// None where no keys are read, because they come from elsewhere.
    keys: Option<Termios>,
}

/// The screen; the terminal is as before when it is dropped.
#[derive(Debug)]
pub(super) struct Screen {
    size: (usize, usize),
    report: Report,
}

/// What is on the screen.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Report {
    /// Lines of which nothing may be lost.
    pub(super) whole: String,
    /// Lines of which the beginning will do, one row for each.
    pub(super) list: String,
    /// The last row.
    pub(super) footer: String,
}

impl Screen {
    /// Takes the terminal over; `None` if standard output is none, or one that knows no more than lines.
    pub(super) fn open() -> Option<Screen> {
        let dumb = std::env::var_os("TERM").is_none_or(|term| term.is_empty() || term == "dumb");
        if !io::stdout().is_terminal() || dumb {
            return None;
        }
        let keys = tcgetattr(io::stdin()).ok();
        if let Some(before) = &keys {
            let mut raw = before.clone();
            raw.local_modes
                .remove(LocalModes::ICANON | LocalModes::ECHO);
            // Reading never waits, and Ctrl-Z does not leave the second screen behind.
            raw.special_codes[SpecialCodeIndex::VMIN] = 0;
            raw.special_codes[SpecialCodeIndex::VTIME] = 0;
            raw.special_codes[SpecialCodeIndex::VSUSP] = 0;
            tcsetattr(io::stdin(), OptionalActions::Now, &raw).ok()?;
        }
        *lock() = Some(Before { keys });
        print(OPEN).ok()?;
        Some(Screen {
            size: size(),
            report: Report::default(),
        })
    }

    /// Shows a report instead of the one before.
    ///
    /// # Errors
    /// Where the terminal is gone.
    pub(super) fn show(&mut self, report: Report) -> io::Result<()> {
        self.size = size();
        self.report = report;
        self.draw()
    }

    /// Shows it again if the terminal has another size now.
    ///
    /// # Errors
    /// Where the terminal is gone.
    pub(super) fn keep(&mut self) -> io::Result<()> {
        let size = size();
        if size == self.size {
            return Ok(());
        }
        self.size = size;
        self.draw()
    }

    /// From elsewhere than this terminal nothing is read: that might wait for ever.
    fn reads_keys(&self) -> bool {
        lock().as_ref().is_some_and(|before| before.keys.is_some())
    }

    /// What is to be pressed to leave.
    pub(super) fn way_out(&self) -> &'static str {
        match self.reads_keys() {
            true => "q",
            false => "Ctrl+C",
        }
    }

    /// Whether `q` was pressed.
    pub(super) fn quits(&self) -> bool {
        let mut keys = [0; 64];
        self.reads_keys()
            && rustix::io::read(io::stdin(), &mut keys)
                .is_ok_and(|length| keys[..length].iter().any(|key| matches!(key, b'q' | b'Q')))
    }

    fn draw(&self) -> io::Result<()> {
        let rows = rows(&self.report, self.size);
        // Each row is cleared before it is written: after the last column that would take away its last character.
        print(&format!("\x1b[H\x1b[K{}", rows.join("\r\n\x1b[K")))
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        restore();
    }
}

/// Gives the terminal back, if it is taken; also from where the process ends at once.
pub(super) fn restore() {
    if let Some(before) = lock().take() {
        // If it is gone, there is nothing to give back.
        let _ = print(CLOSE);
        if let Some(keys) = before.keys {
            let _ = tcsetattr(io::stdin(), OptionalActions::Now, &keys);
        }
    }
}

fn lock() -> std::sync::MutexGuard<'static, Option<Before>> {
    BEFORE.lock().unwrap_or_else(PoisonError::into_inner)
}

fn print(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()
}

/// Columns and rows.
fn size() -> (usize, usize) {
    match tcgetwinsize(io::stdout()) {
        Ok(size) if size.ws_col > 0 && size.ws_row > 0 => {
            (usize::from(size.ws_col), usize::from(size.ws_row))
        }
        _ => (80, 24),
    }
}

/// The rows of a report on a terminal of so many columns and rows, as many as it has at the most.
fn rows(report: &Report, (columns, height): (usize, usize)) -> Vec<String> {
    let mut rows: Vec<String> = Vec::new();
    for line in report.whole.lines() {
        rows.extend(folded(line, columns));
    }
    rows.extend(report.list.lines().map(|line| cut(line, columns)));
    let room = height.saturating_sub(1);
    let more = rows.len().saturating_sub(room);
    rows.truncate(room);
    let footer = match more {
        0 => report.footer.clone(),
        _ => format!("{}; {more} more lines", report.footer),
    };
    rows.resize(room, String::new());
    rows.push(cut(&footer, columns));
    rows
}

/// The characters of a line, without those that would move the cursor.
fn printable(line: &str) -> String {
    line.chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect()
}

/// A line in one row.
fn cut(line: &str, columns: usize) -> String {
    let line = printable(line);
    if line.chars().count() <= columns {
        return line;
    }
    let kept = line.chars().take(columns.saturating_sub(1));
    kept.chain(['…']).collect()
}

/// A line in as many rows as it needs, broken between words where that can be.
fn folded(line: &str, columns: usize) -> Vec<String> {
    let line = printable(line);
    let mut rows = Vec::new();
    let mut row = String::new();
    for word in line.split_inclusive(' ') {
        let mut word = word;
        let fits = |row: &str, word: &str| {
            row.chars().count() + word.trim_end().chars().count() <= columns
        };
        while !fits(&row, word) {
            // A word that is longer than a row is broken where the row ends.
            let room = columns.saturating_sub(row.chars().count());
            let is_long = INDENT.len() + word.chars().count() > columns && room > 0;
            let taken = if is_long { room } else { 0 };
            let at = word
                .char_indices()
                .nth(taken)
                .map_or(word.len(), |(at, _)| at);
            row += &word[..at];
            word = &word[at..];
            rows.push(row.trim_end().to_owned());
            INDENT.clone_into(&mut row);
            if columns <= INDENT.len() {
                row.clear();
                rows.push(cut(word, columns));
                word = "";
            }
        }
        row += word;
    }
    rows.push(row.trim_end().to_owned());
    rows
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(whole: &str, list: &str) -> Report {
        Report {
            whole: whole.to_owned(),
            list: list.to_owned(),
            footer: "q quits".to_owned(),
        }
    }

    #[test]
    fn what_may_not_be_lost_is_folded_and_a_list_is_cut() {
        let both = report("link a: down: the secret is wrong", "0115:sha-1:abcdefgh");
        assert_eq!(
            rows(&both, (16, 6)),
            [
                "link a: down:",
                "    the secret",
                "    is wrong",
                "0115:sha-1:abcd…",
                "",
                "q quits"
            ]
        );
        assert_eq!(
            rows(&both, (80, 4)),
            [
                "link a: down: the secret is wrong",
                "0115:sha-1:abcdefgh",
                "",
                "q quits"
            ]
        );
        assert_eq!(
            rows(&both, (16, 3)),
            ["link a: down:", "    the secret", "q quits; 2 more…"]
        );
        assert_eq!(
            rows(&report("see 0123456789abcdef", ""), (10, 4)),
            ["see 012345", "    6789ab", "    cdef", "q quits"]
        );
    }

    #[test]
    fn nothing_moves_the_cursor_and_no_row_is_too_long_however_small_it_is() {
        let text = report(
            "Stör\u{1b}[2J ung\tüber\rall, ganz und gar",
            "\u{7}x\u{9b}y 0123456789",
        );
        for columns in 1..30 {
            for height in 1..8 {
                let rows = rows(&text, (columns, height));
                assert_eq!(rows.len(), height);
                assert!(
                    rows.iter().all(|row| row.chars().count() <= columns),
                    "{rows:?}"
                );
                assert!(!rows.concat().contains(char::is_control), "{rows:?}");
            }
        }
    }
}
