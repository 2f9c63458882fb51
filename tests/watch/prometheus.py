"""A Prometheus of Debian in a private directory on a loopback port, which scrapes one capsd every second."""

import json
import urllib.parse
import urllib.request
from pathlib import Path

from conftest import DASHBOARDS
from harness.processes import Process, free_ports, until

CONFIGURATION = """
global:
  scrape_interval: 1s
  evaluation_interval: 1s
rule_files:
  - {rules}
scrape_configs:
  - job_name: capsd
    static_configs:
      - targets: ["127.0.0.1:{capsd}"]
"""


class Prometheus:
    """One Prometheus with the alert rules, or with others."""

    def __init__(self, directory, capsd, rules=DASHBOARDS / "alerts.yml"):
        self.directory = Path(directory)
        self.port, = free_ports(1)
        configuration = self.directory / "prometheus.yml"
        configuration.write_text(CONFIGURATION.format(rules=rules, capsd=capsd.http_port))
        command = [
            "prometheus",
            f"--config.file={configuration}",
            f"--storage.tsdb.path={self.directory}/data",
            f"--web.listen-address=127.0.0.1:{self.port}",
            "--log.level=warn",
        ]
        self.process = Process("prometheus", command, self.directory / "prometheus.log")

    async def start(self):
        """Starts it and waits until it has scraped."""
        self.process.start()
        await until(lambda: self.running() and self.value("up") == 1, lambda: f"Prometheus scrapes; its log:\n{self.process.text()[-3000:]}", 30)
        return self

    def running(self):
        self.process.require_running()
        return True

    def stop(self):
        """Ends it by its process."""
        self.process.kill()

    def get(self, path, **parameters):
        """The data of an answer; None where it does not answer yet. What it refuses fails with its words."""
        url = f"http://127.0.0.1:{self.port}/api/v1/{path}?{urllib.parse.urlencode(parameters)}"
        try:
            with urllib.request.urlopen(url, timeout=10) as response:
                return json.load(response)["data"]
        except urllib.error.HTTPError as error:
            if error.code == 503:
                return None
            raise AssertionError(f"{parameters}: {error.read().decode()}") from None
        except OSError:
            return None

    def query(self, expression):
        """The samples of an instant query: (labels, value)."""
        data = self.get("query", query=expression) or {"result": []}
        if data.get("resultType") == "scalar":
            return [({}, float(data["result"][1]))]
        return [(sample["metric"], float(sample["value"][1])) for sample in data["result"]]

    def value(self, expression):
        """The one number of a query; None where there is none."""
        samples = self.query(expression)
        return samples[0][1] if samples else None
