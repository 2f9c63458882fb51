"""README.md, read by the tests that run what stands in it: nobody repeats a snippet, so that none can differ from what was tried."""

import re

from .servers import REPOSITORY

TEXT = (REPOSITORY / "README.md").read_text()


def section(title):
    """The text of one section, without its heading."""
    return re.search(rf"^## {re.escape(title)}\n(.*?)(?=^## |\Z)", TEXT, re.DOTALL | re.MULTILINE)[1]


def blocks(text=TEXT):
    """Every block of code in order, indented or between fences, as plain text; the pictures (`text`) are none."""
    found = re.findall(r"^```(\w+)\n(.*?)^```\n|^(    \S[^\n]*\n(?:(?:    [^\n]*)?\n)*)", text, re.DOTALL | re.MULTILINE)
    indented = lambda block: re.sub(r"^    ", "", block, flags=re.MULTILINE).strip("\n") + "\n"
    return [fenced or indented(plain) for kind, fenced, plain in found if kind != "text"]


def block(beginning):
    """The only block of code that begins with that."""
    found = [one for one in blocks() if one.startswith(beginning)]
    assert len(found) == 1, f"{len(found)} blocks of README.md begin with {beginning}"
    return found[0]


def typed(kind, domain):
    """The lines that an operator types, from the block with the mark `trial: KIND`, as somebody with that domain writes them."""
    marked = re.search(rf"<!-- trial: {kind} -->\n((?:    .*\n)+)", TEXT)
    assert marked, f"README.md has no lines for {kind}"
    return [line[4:].replace("YOUR.DOMAIN", domain) for line in marked[1].splitlines()]


def pattern(text):
    """What a program prints, as README shows it: any number stands for any other, `…` for whatever is left out."""
    return re.compile(re.sub(r"\d[\d.,]*", r"\\d[\\d.,]*", re.escape(text)).replace("…", ".*"))


def commands(block):
    """What is typed in a block, without the prompt."""
    return [line[2:] for line in block.splitlines() if line.startswith("$ ")]


def assert_printed(text, block):
    """Each line that the block shows was printed, in that order; others may stand between them."""
    lines = iter([line.strip() for line in text.splitlines()])
    for shown in filter(None, (line.strip() for line in block.splitlines())):
        if shown != "…" and not shown.startswith("$ "):
            wanted = pattern(shown)
            assert any(wanted.fullmatch(line) for line in lines), f"not printed (or not in that order): {shown}\n{text}"


def assert_told(text, block):
    """The same of prose, which may be broken into lines at other places."""
    told, shown = (" ".join(words.split()) for words in (text, block))
    assert pattern(shown).search(told), f"not told: {shown}\n{text}"
