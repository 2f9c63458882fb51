"""What all tests of watching share: the harness of the tests beside real servers, and the dashboards as they are read from their files."""

import json
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]
DASHBOARDS = REPOSITORY / "dashboards"
NAMES = ("overview", "resolver", "stores", "clients")

sys.path.insert(0, str(REPOSITORY / "tests/servers"))


def dashboard(name):
    """A dashboard, parsed."""
    return json.loads((DASHBOARDS / f"{name}.json").read_text())


def panels(board):
    """Its panels without the rows."""
    return [panel for panel in board["panels"] if panel["type"] != "row"]


@pytest.fixture(params=NAMES)
def board(request):
    """Each dashboard in turn."""
    return dashboard(request.param)
