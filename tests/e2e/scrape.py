"""A real Prometheus scrapes the daemon and answers every query of the Grafana dashboard. Needs root and Debian's packages
`prometheus` and `nftables`; everything runs in namespaces of its own.

Usage: scrape.py [--binary FILE]
Exit status 1 when a metric is unknown to Prometheus, a query fails or has no answer, or a number is wrong.
"""

import argparse
import json
import re
import sys
import urllib.parse
from pathlib import Path

import alone
import isolation
from process import Failure, Program, wait_until

PROMETHEUS = "127.0.0.1:9090"
CONFIG = f"""
global: {{ scrape_interval: 1s }}
scrape_configs:
  - job_name: btblocker
    static_configs: [{{ targets: ["{alone.LISTEN}"] }}]
"""
# What Grafana fills in: with `All` chosen, and four times the scrape interval or more.
FILLED_IN = {"$__rate_interval": "30s", "$instance": ".*"}
CASES = ("bt-libtorrent-plain-v4", "bt-aria2-v6", "bt-libtorrent-dht")


def ask(path: str, **parameters: str):
    """Data of an answer of Prometheus' HTTP API."""
    answer = json.loads(alone.get(f"http://{PROMETHEUS}/api/v1/{path}?{urllib.parse.urlencode(parameters)}"))
    if answer["status"] != "success":
        raise Failure(f"{path} {parameters}: {answer}")
    return answer["data"]


def value(expression: str) -> float:
    """The only value of a query."""
    result = ask("query", query=expression)["result"]
    if len(result) != 1:
        raise Failure(f"{expression}: {len(result)} series")
    return float(result[0]["value"][1])


def queries(dashboard: dict) -> list[tuple[str, str]]:
    """Title of the panel and expression, of every target."""
    found = []
    for panel in dashboard["panels"]:
        for target in panel.get("targets", ()):
            expression = target["expr"]
            for name, text in FILLED_IN.items():
                expression = expression.replace(name, text)
            found.append((panel["title"], expression))
    return found


def check(binary: str, work: Path) -> None:
    daemon = alone.start(binary, work)
    config = work / "prometheus.yml"
    config.write_text(CONFIG)
    prometheus = Program("prometheus", [
        "prometheus", f"--config.file={config}", f"--storage.tsdb.path={work / 'tsdb'}", f"--web.listen-address={PROMETHEUS}",
    ], work)
    prometheus.wait_line("Server is ready", 60)
    wait_until("a first scrape", lambda: ask("query", query="up == 1")["result"], 30)
    for case in CASES:
        alone.play(case)
    wait_until("a ban", lambda: alone.overview()["active_bans"], 20)
    bans = alone.overview()["active_bans"]
    wait_until("the bans in Prometheus", lambda: value("btblocker_bans_active") == bans, 30)

    served = alone.get(f"http://{alone.LISTEN}/metrics")
    families = re.findall(r"^# TYPE (\S+)", served, re.MULTILINE)
    metadata = ask("metadata")
    names = ask("label/__name__/values")
    for family in families:
        if family not in metadata:
            raise Failure(f"Prometheus does not know the type of {family}")
        if not any(name == family or name.startswith(f"{family}_") for name in names):
            raise Failure(f"Prometheus has no sample of {family}")
    print(f"{len(families)} metrics are known to Prometheus")

    dashboard = json.loads((alone.ROOT / "contrib/grafana-dashboard.json").read_text())
    for variable in dashboard["templating"]["list"]:
        if match := re.fullmatch(r"label_values\((\w+), (\w+)\)", variable["query"]):
            values = ask(f"label/{match[2]}/values", **{"match[]": match[1]})
            if values != [alone.LISTEN]:
                raise Failure(f"{variable['query']}: {values}")
    asked = queries(dashboard)
    for title, expression in asked:
        series = wait_until(f"{title}: {expression}", lambda: ask("query", query=expression)["result"], 20)
        print(f"{len(series):3} series  {title}: {expression}")
    # Counters begin at 0 and are scraped before anything happens, so that an increase is seen.
    for expression in ("sum(increase(btblocker_bans_total[1m]))", "sum(increase(btblocker_packets_total[1m]))"):
        wait_until(f"{expression} > 0", lambda: value(expression) > 0, 20)
    for program in (prometheus, daemon):
        program.signal(15)
        if program.wait(20):
            raise Failure(f"{program.name} did not end well")
    print(f"all {len(asked)} queries of the dashboard are answered")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--binary", default=str(alone.ROOT / "target/release/btblocker"))
    wish = parser.parse_args()
    return isolation.run("scrape", lambda work: check(str(Path(wish.binary).resolve()), work))


if __name__ == "__main__":
    sys.exit(main())
