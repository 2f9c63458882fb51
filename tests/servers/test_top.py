"""`capsd top` on a terminal, as somebody sits before it."""

import pytest

from harness.daemon import Capsd, binary
from harness.processes import wait_until
from harness.terminals import Shell


class Window(Shell):
    """A shell in a window whose size changes."""

    def resize(self, columns, rows):
        """Makes the window that large."""
        self.tmux("resize-window", "-x", str(columns), "-y", str(rows))

    def rows(self):
        """What is to be seen, row by row."""
        return [row.rstrip() for row in self.screen().split("\n")]

    def is_given_back(self):
        """Whether there are a cursor and what was on the screen before, and keys are as they were."""
        self.order("stty -g | cmp - before && echo as  it was | tr -s ' '")
        self.wait_for("as it was", "a mark from before")
        state = self.tmux("display-message", "-p", "#{cursor_flag} #{alternate_on}").strip()
        return state == "1 0" and "q quits" not in self.screen()


@pytest.fixture
def capsd(make_capsd, tmp_path):
    """A capsd without a server, whose control socket has no patience."""

    class Nowhere:
        component_port = 1

    control = f'socket = "{tmp_path}/socket"\ntimeout = "100ms"'
    return make_capsd(Nowhere(), control=control).start(linked=False)


@pytest.fixture
def shell():
    shell = Window(None, "nobody")
    shell.start()
    yield shell
    shell.stop()


def test_it_takes_the_terminal_and_gives_it_back(capsd, shell):
    top = f"{binary()} top --config {capsd.config} --interval 1"
    shell.resize(80, 24)
    shell.order(f"cd {shell.directory}; stty -g > before; PS1='$ '; clear; echo a mark  from before | tr -s ' '")
    shell.order(top)
    # The second report has rates; by then the connection of the first one is gone.
    shell.wait_for("capsd 0", "link caps.example.org", "keeps trying", "lately: 0.0 queries/s", "0 in progress")
    rows = shell.rows()
    assert rows[0].startswith("capsd ") and rows[23] == "q quits; every 1 s"
    assert rows[rows.index("0 in progress, 0 looking in the store, 0 waiting") - 1] == ""
    assert "" not in rows[: rows.index("0 in progress, 0 looking in the store, 0 waiting") - 1], "no row is broken by the terminal"
    assert "\x1b[" not in shell.tmux("capture-pane", "-p", "-e"), "it has no colours, whatever NO_COLOR says"

    shell.resize(40, 15)
    shell.wait_for("more lines")
    rows = shell.rows()
    assert rows[0].startswith("capsd ") and rows[14].startswith("q quits; every 1 s; ")
    shell.resize(100, 30)
    wait_until(lambda: shell.rows()[29] == "q quits; every 1 s", lambda: f"it fills the window:\n{shell.screen()}")
    shell.press("x", "q")
    assert shell.is_given_back()

    shell.order(f"{top}; echo status $?")
    shell.wait_for("q quits")
    # No way out leaves the second screen behind.
    shell.press("C-z", "C-c")
    shell.wait_for("status 0")
    assert shell.is_given_back()

    # Keys from elsewhere are not waited for.
    shell.order(f"clear; echo a mark  from before | tr -s ' '; sleep 60 | {top}")
    shell.wait_for("Ctrl+C quits", "lately: ")
    shell.press("C-c")
    assert shell.is_given_back()

    # One that knows lines alone has one report after the other.
    shell.order(f"clear; TERM=dumb {top}")
    shell.wait_for("0 in progress", "lately: ")
    assert "q quits" not in shell.screen()
    shell.press("C-c")
    shell.order("clear; echo a mark  from before | tr -s ' '")

    shell.order(f"{top}; echo status $?")
    shell.wait_for("q quits")
    capsd.kill()
    shell.wait_for("status 4", "no daemon answers")
    assert shell.is_given_back()
