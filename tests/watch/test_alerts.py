"""The alert rules by promtool: each fires and is silent in alerts.test.yml, and that file can tell."""

import re
import subprocess

import pytest
import yaml
from conftest import DASHBOARDS, REPOSITORY

RULES = yaml.safe_load((DASHBOARDS / "alerts.yml").read_text())
TESTS = yaml.safe_load((DASHBOARDS / "alerts.test.yml").read_text())
ALERTS = {rule["alert"]: rule for group in RULES["groups"] for rule in group["rules"]}


def promtool(*arguments, directory=DASHBOARDS):
    """What promtool says, and its exit code."""
    ended = subprocess.run(["promtool", *arguments], cwd=directory, capture_output=True, text=True, timeout=60)
    return ended.returncode, ended.stdout + ended.stderr


def checks_of(alert):
    """The tests of an alert: those that check it alone."""
    found = [test for test in TESTS["tests"] if "promql_expr_test" in test and f'alertname="{alert}"' in test["promql_expr_test"][0]["expr"]]
    for test in found:
        assert all(f'alertname="{alert}"' in check["expr"] for check in test["promql_expr_test"]), test["name"]
    return found


def test_the_rules_are_in_order():
    code, said = promtool("check", "rules", "alerts.yml")
    assert code == 0, said


def test_every_alert_passes_its_tests():
    code, said = promtool("test", "rules", "alerts.test.yml")
    assert code == 0, said


@pytest.mark.parametrize("alert", ALERTS)
def test_the_tests_of_an_alert_can_tell(alert, tmp_path):
    """An alert that never fires, one that always does, and one without patience fail the tests."""
    tests = checks_of(alert)
    checks = [check for test in tests for check in test["promql_expr_test"]]
    assert any(check["exp_samples"] for check in checks), "it fires nowhere"
    silent = [test for test in tests if not any(check["exp_samples"] for check in test["promql_expr_test"])]
    assert silent, "it is silent nowhere"
    rule = ALERTS[alert]
    mutants = {"never": rule | {"expr": "vector(1) == 0"}, "always": rule | {"expr": "vector(1)", "for": "0m"}}
    if "for" in rule:
        mutants["at once"] = rule | {"for": "0m"}
    for name, mutant in mutants.items():
        directory = tmp_path / name.replace(" ", "-")
        directory.mkdir()
        (directory / "alerts.yml").write_text(yaml.safe_dump({"groups": [{"name": "capsd", "rules": [mutant]}]}))
        (directory / "test.yml").write_text(yaml.safe_dump(TESTS | {"tests": tests}))
        code, said = promtool("test", "rules", "test.yml", directory=directory)
        assert code == 1, f"{name}: {said}"


@pytest.mark.parametrize("alert", ALERTS)
def test_an_alert_says_what_to_do(alert):
    rule = ALERTS[alert]
    assert re.fullmatch(r"Capsd[A-Z][A-Za-z]+", alert)
    assert rule["labels"]["severity"] in ("critical", "warning", "info")
    summary, description = rule["annotations"]["summary"], rule["annotations"]["description"]
    assert "{{ $labels." in summary and len(re.sub(r"{{.*?}}", "x", summary)) <= 90, summary
    assert re.fullmatch(r"Symptom: .+\. Cause: .+\. Next step: .+\.", description, re.DOTALL), description


def test_the_configuration_in_readme_is_usable(tmp_path):
    readme = (REPOSITORY / "README.md").read_text()
    snippet, = re.findall(r"```yaml\n(scrape_configs:.*?)```", readme, re.DOTALL)
    assert "/etc/prometheus/capsd-alerts.yml" in snippet
    # The file is where README says that it is copied to.
    rules = tmp_path / "capsd-alerts.yml"
    rules.write_text((DASHBOARDS / "alerts.yml").read_text())
    configuration = tmp_path / "prometheus.yml"
    configuration.write_text(snippet.replace("/etc/prometheus", str(tmp_path)))
    code, said = promtool("check", "config", str(configuration))
    assert code == 0, said
    # The job has the name that the rules know, and README says how many there are.
    job, = (job["job_name"] for job in yaml.safe_load(snippet)["scrape_configs"])
    assert f'job="{job}"' in ALERTS["CapsdDown"]["expr"]
    assert f"has {len(ALERTS)} rules for the job `{job}`" in readme
