//! One thing that was looked at.

use std::fmt;

use serde::Serialize;

/// How it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum State {
    /// As it should be.
    Fine,
    /// It may be as it should be, or works in part.
    Warning,
    /// Not as it should be.
    Problem,
}

/// What was found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Finding {
    /// What was looked at; a word for programs.
    pub(super) check: String,
    /// How it is.
    pub(super) state: State,
    /// What is seen.
    pub(super) symptom: String,
    /// Why; empty where there is nothing to say.
    pub(super) cause: String,
    /// What to do, or what could be done; empty where there is nothing to do.
    pub(super) remedy: String,
}

impl Finding {
    pub(super) fn fine(check: &str, said: &str) -> Finding {
        Finding::new(State::Fine, check, said, "", "")
    }

    /// As it should be, with something that may be made better.
    pub(super) fn note(check: &str, said: &str, cause: &str, remedy: &str) -> Finding {
        Finding::new(State::Fine, check, said, cause, remedy)
    }

    pub(super) fn warning(check: &str, symptom: &str, cause: &str, remedy: &str) -> Finding {
        Finding::new(State::Warning, check, symptom, cause, remedy)
    }

    pub(super) fn problem(check: &str, symptom: &str, cause: &str, remedy: &str) -> Finding {
        Finding::new(State::Problem, check, symptom, cause, remedy)
    }

    fn new(state: State, check: &str, symptom: &str, cause: &str, remedy: &str) -> Finding {
        Finding {
            check: check.to_owned(),
            state,
            symptom: symptom.to_owned(),
            cause: cause.to_owned(),
            remedy: remedy.to_owned(),
        }
    }

    pub(super) fn is_problem(&self) -> bool {
        self.state == State::Problem
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = match self.state {
            State::Fine => "ok",
            State::Warning => "warning",
            State::Problem => "PROBLEM",
        };
        write!(f, "{word:<8}{}: {}", self.check, self.symptom)?;
        if !self.cause.is_empty() {
            write!(f, "\n        cause: {}", self.cause)?;
        }
        if !self.remedy.is_empty() {
            write!(f, "\n        remedy: {}", self.remedy)?;
        }
        Ok(())
    }
}
