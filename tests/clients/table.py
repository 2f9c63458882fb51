"""config/trusted/clients.tsv: which client announced which key, and what became of it."""

import csv
from dataclasses import asdict, dataclass, fields
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
TRUSTED = REPOSITORY / "config/trusted"
TABLE = TRUSTED / "clients.tsv"

VERIFIED = "verified"
# The verdicts on a client that gave nothing to verify.
SILENT, NOT_RUN = "announces-nothing", "not-run"


@dataclass(frozen=True)
class Row:
    """One key that one client announced, or one client that announced none."""

    client: str
    version: str
    package: str
    settings: str
    date: str
    family: str = ""
    algorithm: str = ""
    hash: str = ""
    node: str = ""
    verdict: str = ""
    # Where the content is, below config/trusted; empty where none is kept.
    file: str = ""
    remark: str = ""


COLUMNS = [field.name for field in fields(Row)]


def read(path=TABLE):
    """The rows of a table, in its order; none where it is not there."""
    if not path.exists():
        return []
    with open(path, encoding="utf-8", newline="") as file:
        return [Row(**row) for row in csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE)]


def write(rows, path=TABLE):
    """Replaces a table."""
    with open(path, "w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS, delimiter="\t", quoting=csv.QUOTE_NONE, lineterminator="\n", quotechar=None)
        writer.writeheader()
        writer.writerows({name: " ".join(value.split()) for name, value in asdict(row).items()} for row in rows)
