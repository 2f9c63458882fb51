"""The dashboards as files: the types that Grafana publishes, and the rules that its linter for dashboards has, written anew here."""

import json
import re
import subprocess

import pytest
from conftest import DASHBOARDS, NAMES, REPOSITORY, dashboard, panels

TYPES = REPOSITORY / "tests/watch/grafana"
MODULES = REPOSITORY / "target/grafana"
SOURCE = {"type": "prometheus", "uid": "${datasource}"}
#: Units that Grafana has, as far as they are used here.
UNITS = {"none", "percentunit", "s", "bytes", "reqps", "ops", "pps"}
OF_ONE = 'job=~"$job", instance=~"$instance"'
METRIC = re.compile(r"\b((?:capsd|process)_[a-z_]+)(\{[^}]*\})?(\[[^\]]+\])?")


def metrics_in(expression):
    """Every (name, selector, range) in a query."""
    found = METRIC.findall(re.sub(r"label_values\((.*?)[,)].*", r"\1", expression))
    assert found, expression
    return found


def queries(board):
    return [(panel, target) for panel in panels(board) for target in panel["targets"]]


def test_every_file_is_tested():
    assert {path.stem for path in DASHBOARDS.glob("*.json")} == set(NAMES)
    assert len({dashboard(name)["uid"] for name in NAMES}) == len(NAMES)


def compile_dashboards(boards, directory):
    """Has TypeScript compare dashboards with Grafana's types; what it complains about."""
    sources = []
    for name, board in boards.items():
        lines = [f'import {{ dashboard, timeseries, stat, bargauge }} from "{TYPES}/types";', f"dashboard({json.dumps(board)});"]
        # In the whole, options and fields are of any form; each kind of panel has its own.
        lines += [f"{panel['type']}({json.dumps(panel)});" for panel in panels(board)]
        sources.append(directory / f"{name}.ts")
        sources[-1].write_text("\n".join(lines))
    options = {
        "strict": True,
        "noEmit": True,
        "module": "esnext",
        "target": "es2022",
        "moduleResolution": "bundler",
        "skipLibCheck": True,
        "types": [],
        "paths": {"@grafana/schema": [str(MODULES / "node_modules/@grafana/schema")], "@grafana/schema/*": [str(MODULES / "node_modules/@grafana/schema/*")]},
    }
    project = directory / "tsconfig.json"
    project.write_text(json.dumps({"compilerOptions": options, "files": [str(path) for path in sources]}))
    compiler = MODULES / "node_modules/typescript/bin/tsc"
    ended = subprocess.run(["node", compiler, "--project", project], capture_output=True, text=True, timeout=60)
    return ended.stdout + ended.stderr


def test_they_are_of_the_types_that_grafana_publishes(tmp_path):
    boards = {name: dashboard(name) for name in NAMES}
    # What the types refuse is refused: a word for a number, an unknown option, a wrong unit of a closed set, at each depth.
    for place, fault in enumerate(
        [
            lambda board: board.update(schemaVersion="39"),
            lambda board: board.update(unknown_field=1),
            lambda board: board["templating"]["list"][1].update(refresh=7),
            lambda board: board["panels"][1]["gridPos"].update(h="4"),
            lambda board: board["panels"][1]["options"].update(colorMode="rainbow"),
            lambda board: board["panels"][1]["fieldConfig"]["defaults"]["thresholds"].update(mode="relative"),
            lambda board: panels(board)[-1]["fieldConfig"]["defaults"]["custom"].update(drawStyle="scribble"),
            lambda board: panels(board)[-1]["options"]["legend"].update(placement="nowhere"),
            lambda board: panels(board)[-1]["targets"][0].pop("expr"),
        ]
    ):
        faulty = dashboard("overview")
        fault(faulty)
        boards[f"fault{place}"] = faulty
    said = compile_dashboards(boards, tmp_path)
    faulty = set(re.findall(r"^(?:.*/)?(\w+)\.ts\(\d+,\d+\): error", said, re.MULTILINE))
    assert faulty == {name for name in boards if name.startswith("fault")}, said


def test_the_data_source_is_a_variable(board):
    source, *_ = board["templating"]["list"]
    assert (source["name"], source["type"], source["query"], source["label"]) == ("datasource", "datasource", "prometheus", "Data source")
    for part in [*panels(board), *(target for _, target in queries(board)), *board["templating"]["list"][1:]]:
        assert part["datasource"] == SOURCE, part
    # No other identifier of a source is anywhere.
    assert set(re.findall(r'"uid": "([^"]*)"', json.dumps(board))) == {"${datasource}", board["uid"]}


def test_job_and_instance_are_variables(board):
    variables = {variable["name"]: variable for variable in board["templating"]["list"]}
    for name, label in (("job", "Job"), ("instance", "Instance")):
        variable = variables[name]
        assert variable["label"] == label
        assert variable["multi"] and variable["includeAll"] and variable["allValue"] == ".+"
        # Evaluated anew when the time range changes.
        assert variable["refresh"] == 2
        assert variable["query"]["query"].startswith("label_values(capsd_build_info")


def test_every_panel_has_title_description_unit_and_place(board):
    titles = [panel["title"] for panel in panels(board)]
    assert len(set(titles)) == len(titles)
    assert len({panel["id"] for panel in board["panels"]}) == len(board["panels"])
    taken = set()
    for panel in board["panels"]:
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24
        cells = {(x, y) for x in range(place["x"], place["x"] + place["w"]) for y in range(place["y"], place["y"] + place["h"])}
        assert not cells & taken, f"{panel['title']} lies over another panel"
        taken |= cells
    for panel in panels(board):
        assert panel["title"][0].isupper() and len(panel["title"]) <= 45, panel["title"]
        assert len(panel["description"]) >= 15 and panel["description"].endswith("."), panel["title"]
        assert panel["fieldConfig"]["defaults"]["unit"] in UNITS, panel["title"]
        assert panel["targets"], panel["title"]
        assert len({target["refId"] for target in panel["targets"]}) == len(panel["targets"])
        for target in panel["targets"]:
            assert target["legendFormat"], panel["title"]


def test_every_query_is_of_the_chosen_instances_at_the_right_rate(board):
    for panel, target in queries(board):
        expression = target["expr"]
        for name, selector, range_ in metrics_in(expression):
            assert OF_ONE in selector, f"{panel['title']}: {name}"
            counter = name.endswith(("_total", "_bucket", "_sum", "_count"))
            if range_:
                assert counter, f"{panel['title']}: {name} is no counter"
                assert range_ == "[$__rate_interval]" or panel["type"] == "stat", panel["title"]
                assert re.search(rf"(rate|increase)\({name}", expression), panel["title"]
            elif counter:
                # A total since the start may be shown as a number, but not be drawn.
                assert panel["type"] == "stat", f"{panel['title']}: {name} without a rate"


def test_they_are_found_and_not_edited_in_place(board):
    assert board["tags"] == ["capsd"] and board["title"].startswith("capsd / ") and board["uid"].startswith("capsd-")
    assert board["editable"] is False
    assert board["description"]
    assert board["schemaVersion"] >= 39
    assert "id" not in board, "Grafana gives it"


@pytest.fixture(scope="module")
def exported():
    """The names of all metrics that README or the source know, by what capsd registers."""
    source = (REPOSITORY / "src/metrics").rglob("*.rs")
    text = "".join(path.read_text() for path in source)
    return {f"capsd_{name}" for name in re.findall(r'make\s*\.\w+\(\s*"([a-z_]+)"', text)} | {"capsd_build_info"}


def base_name(name):
    return re.sub(r"_(bucket|sum|count)$", "", name)


def test_every_metric_is_on_a_dashboard_and_every_one_there_exists(exported):
    shown = {base_name(name) for board in map(dashboard, NAMES) for _, target in queries(board) for name, _, _ in metrics_in(target["expr"])}
    own = {name for name in shown if name.startswith("capsd_")}
    assert own <= exported, own - exported
    # When the configuration was read last is for the table of a person, not for a panel.
    assert exported - own <= {"capsd_config_last_reload_success_timestamp_seconds"}, exported - own


def test_readme_names_every_metric(exported):
    readme = (REPOSITORY / "README.md").read_text()
    assert {name for name in exported if name not in readme} == set()
