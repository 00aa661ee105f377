"""Metrics and health of real processes; and that the pages, rules and dashboard name what a scrape has."""

import json
import re
import sys
import time
from collections.abc import Iterator
from typing import Any, Final

import httpx
import pytest
import yaml
from prometheus_client import Metric
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse

from notifications.stream import keys
from notify_project.local.children import PROJECT, manage
from tests.api import Api
from tests.sockets import Socket
from tests.stack import HOST, Process, Stack, free_port, wait_until

pytestmark = pytest.mark.one_shard_is_enough

FOLDER: Final = PROJECT / "docs" / "operations"
ALERTS: Final = yaml.safe_load((FOLDER / "alerts.yml").read_text())["groups"][0]["rules"]
DASHBOARD: Final = json.loads((FOLDER / "grafana-dashboard.json").read_text())
PANELS: Final = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
EXPRESSIONS: Final = [rule["expr"] for rule in ALERTS] + [one["expr"] for panel in PANELS for one in panel["targets"]]
KINDS: Final = ("worker", "scheduler", "bulk_worker", "dlq_worker")
# A server that is away costs a scrape no more; the rest is a loaded machine's.
LIMIT_SECONDS: Final = 2.0
SLACK_SECONDS: Final = 1.5

SELECTOR: Final = re.compile(r"(notify_[a-z_]+)(?:\{([^}]*)\})?")
MATCHER: Final = re.compile(r'([a-z_]+)(=~|=)"([^"]*)"')
BY: Final = re.compile(r"by \(([^)]*)\)")
ROW: Final = re.compile(r"^\| (`notify_[^|]*)\|", re.MULTILINE)

# A scheduler's duty, in a hurry: how long until suspects are judged, and how many samples.
RECONCILE: Final = """
import sys, time, django
django.setup()
from notifications import process, wiring
from notifications.drift import Drift
process.single_connection()
duty = Drift(wiring.patient_shards(), per_minute=1000)
for _ in range(int(sys.argv[2])):
    duty.sample()
    time.sleep(float(sys.argv[1]))
    duty.judge()
"""

Series = dict[str, list[dict[str, str]]]


class Watched(Stack):
    """A deployment whose processes share a folder of metrics; each has a port of its own for its health."""

    ports: dict[str, int]
    processes: dict[str, Process]

    def start_all(self) -> None:
        """One process of each kind."""
        self.start_web()
        self.ports, self.processes = {kind: free_port() for kind in KINDS}, {}
        for kind, port in self.ports.items():
            self.env["NOTIFY_HEALTH_PORT"] = str(port)
            self.processes[kind] = self.start(manage(kind))
        del self.env["NOTIFY_HEALTH_PORT"]

    def redis_shard(self, recipient: str) -> int:
        """The shard of a recipient."""
        return keys.shard_of(recipient, int(self.env["NOTIFY_SHARDS"]))

    def scrape(self, **headers: str) -> str:
        """The web's metrics."""
        answer = httpx.get(f"{self.url}/metrics", headers=headers, trust_env=False, timeout=30)
        assert answer.status_code == 200, answer.text
        return answer.text

    def ask(self, kind: str, path: str) -> httpx.Response:
        """What a process says on its own port."""
        return httpx.get(f"http://{HOST}:{self.ports[kind]}{path}", trust_env=False, timeout=30)

    def value(self, name: str, **labels: str) -> float | None:
        """A sample of the web's metrics; None where it is missing."""
        found = [
            one.value for one in samples(self.scrape()) if one.name == name and labels.items() <= one.labels.items()
        ]
        return found[0] if found else None


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    """A deployment that has done a little of everything."""
    folder = tmp_path_factory.mktemp("watched")
    # Its scheduler looks for no drift of its own: that is for the tests here to cause and to find.
    with Watched(
        folder, NOTIFY_METRICS_DIR=str(folder / "metrics"), NOTIFY_RETRY_DELAYS="0.1", NOTIFY_DRIFT_SAMPLE="1"
    ) as stack:
        stack.redis().config_set("maxmemory", "1gb")
        stack.start_all()
        with Api(stack) as api, Socket(stack.url, api.token("alice")) as socket:
            stack.env["DJANGO_SETTINGS_MODULE"] = "notify_project.settings"
            socket.expect("hello")
            for number in range(20):
                api.notify("alice", f"Number {number}")
            api.notify("bob", data={"fault": {"fail": 1}})
            api.notify("bob", data={"fault": {"invalid": True}})
            assert api.post("/api/notify", {"recipient": ""}).status_code == 400
            later = {"recipient": "carol", "type": "test", "title": "Later", "delay": 1}
            assert api.post("/api/schedule", later).status_code == 201
            many = {"recipients": [f"r{n}" for n in range(50)], "notification": {"type": "test", "title": "To many"}}
            assert api.post("/api/bulk", many).status_code == 202
            assert httpx.get(f"{stack.url}/api/stats", trust_env=False).status_code == 401
            socket.expect("notification")
            # 20 to Alice, one to Bob, one to Carol, 50 by bulk; and everybody has told of himself.
            wait_until(lambda: stack.value("notify_events_stored_total") == 72, message="not all was stored")
            alive = {"kind": "worker", "state": "alive"}
            wait_until(lambda: stack.value("notify_processes", **alive) == 1, message="no worker was seen")
            wait_until(lambda: stack.value("notify_event_latency_seconds_count"), message="no latency was told")
        yield stack


def samples(text: str) -> list[Any]:
    """All samples of a scrape."""
    return [sample for family in parse(text) for sample in family.samples]


def series(text: str) -> Series:
    """The labels of every sample, by its name."""
    found: Series = {}
    for sample in samples(text):
        found.setdefault(sample.name, []).append(sample.labels)
    return found


def selectors(expression: str) -> list[tuple[str, str]]:
    """Each metric that an expression names, with its matchers."""
    return [(name, matchers or "") for name, matchers in SELECTOR.findall(expression)]


def base(name: str) -> str:
    """A metric as the page names it: a histogram without what its samples add."""
    return re.sub(r"_(bucket|sum|count)$", "", name)


def test_a_scrape_tells_what_was_done(watched: Watched) -> None:
    assert watched.value("notify_events_accepted_total") == 73
    assert watched.value("notify_events_dead_total") == 1
    assert watched.value("notify_events_retried_total") == 1
    assert watched.value("notify_schedules_fired_total") == 1
    # Of the lane live, and not what waited for its time on purpose.
    assert watched.value("notify_event_latency_seconds_count") == 22
    assert watched.value("notify_event_latency_seconds_bucket", le="+Inf") == 22
    assert watched.value("notify_up", server="redis") == watched.value("notify_up", server="postgresql") == 1
    assert watched.value("notify_http_requests_total", route="notify", method="POST", status="202") == 22
    assert watched.value("notify_http_requests_total", route="notify", method="POST", status="400") == 1
    assert watched.value("notify_refused_total", reason="invalid") == 1
    assert watched.value("notify_refused_total", reason="unauthenticated") == 1


def test_the_web_tells_what_the_others_counted_where_they_share_a_folder(watched: Watched) -> None:
    assert watched.value("notify_worker_stage_seconds_count", stage="store")
    assert watched.value("notify_worker_failed_total", outcome="retried") == 1
    assert watched.value("notify_worker_failed_total", outcome="invalid") == 1
    assert watched.value("notify_schedule_late_seconds_count") == 1
    assert watched.value("notify_schedule_late_seconds_bucket", le="5.0") == 1
    assert watched.value("notify_bulk_fanned_recipients_total") == 50
    assert (watched.value("notify_frames_total", result="delivered") or 0) >= 20


def test_paths_with_ids_are_one_route_and_no_recipient_is_in_a_label(watched: Watched) -> None:
    with Api(watched) as api:
        for number in range(3):
            api.request(f"/api/recipients/somebody-{number}/unread")
            api.request(f"/nowhere/{number}")
    text = watched.scrape()
    assert 'route="unread"' in text
    assert 'route="none"' in text
    assert not any(word in text for word in ("somebody", "nowhere", "alice", "carol", watched.api_key))


def test_a_scrape_is_well_formed_in_both_languages(watched: Watched) -> None:
    for accept in ("application/openmetrics-text; version=1.0.0", "application/openmetrics-text"):
        families: list[Metric] = list(parse_openmetrics(watched.scrape(Accept=accept)))
        assert {"notify_up", "notify_events_accepted", "notify_event_latency_seconds"} <= {one.name for one in families}
    names = [family.name for family in parse(watched.scrape(Accept="text/plain; version=0.0.4"))]
    assert len(names) == len(set(names))


def test_the_page_has_every_metric_and_no_other(watched: Watched) -> None:
    page = (FOLDER / "metrics.md").read_text()
    described = {name for row in ROW.findall(page) for name in re.findall(r"`(notify_[a-z_]+)`", row)}
    assert described == {base(name) for name in series(watched.scrape())}


@pytest.mark.parametrize("expression", dict.fromkeys(EXPRESSIONS))
def test_rules_and_panels_name_what_a_scrape_has(watched: Watched, expression: str) -> None:
    found = series(watched.scrape())
    named = selectors(expression)
    assert named
    for name, matchers in named:
        assert name in found, f"there is no {name}"
        for label, operator, wanted in MATCHER.findall(matchers):
            values = {labels[label] for labels in found[name]}
            # No request need have failed here.
            alternatives = [] if label == "status" else wanted.split("|") if operator == "=~" else [wanted]
            assert values.issuperset(alternatives), f"{name} has no {label} {wanted}"
    labels_of_all = {label for name, _ in named for labels in found[name] for label in labels}
    for grouping in BY.findall(expression):
        assert set(grouping.replace(" ", "").split(",")) <= labels_of_all


@pytest.mark.parametrize("rule", ALERTS, ids=lambda rule: rule["alert"])
def test_every_alert_says_how_bad_it_is_and_leads_to_its_section(rule: dict[str, Any]) -> None:
    assert rule["labels"]["severity"] in {"critical", "warning"}
    assert rule["annotations"]["summary"].endswith(".")
    page, anchor = rule["annotations"]["runbook_url"].split("#")
    headings = re.findall(r"^## (.+)$", (PROJECT / page).read_text(), re.MULTILINE)
    anchors = [re.sub(r"[^a-z0-9 _-]", "", heading.lower()).replace(" ", "-") for heading in headings]
    assert anchor in anchors
    section = (PROJECT / page).read_text().split(f"## {headings[anchors.index(anchor)]}\n")[1].partition("\n## ")[0]
    assert rule["alert"] in section


def test_the_dashboard_asks_for_its_data_source_and_has_no_panel_twice() -> None:
    assert [one["type"] for one in DASHBOARD["templating"]["list"]] == ["datasource"]
    assert {panel["datasource"]["uid"] for panel in PANELS} == {"${datasource}"}
    ids = [panel["id"] for panel in DASHBOARD["panels"]]
    assert len(ids) == len(set(ids))
    for panel in DASHBOARD["panels"]:
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24


def test_a_drift_caused_in_redis_is_told_and_mended(watched: Watched) -> None:
    key = keys.inbox(watched.redis_shard("bob"), "bob")
    with Api(watched) as api:
        assert api.get("/api/recipients/bob/unread") == {"unread": 1}
        right = watched.redis().get(key)
        assert right
        watched.redis().set(key, "1 41 1")
        assert api.get("/api/recipients/bob/unread") == {"unread": 41}
        process = watched.start([sys.executable, "-c", RECONCILE, "0", "1"])
        assert process.wait() == 0
        assert "unread.drift" in process.log()
        assert "recipient=bob" in process.log()
        wait_until(lambda: watched.value("notify_unread_drift") == 1, message="it was not told")
        assert watched.value("notify_unread_drift_found_total") == 1
        assert api.get("/api/recipients/bob/unread") == {"unread": 1}
        assert watched.redis().get(key) == right


def test_counts_that_change_all_the_time_do_not_drift(watched: Watched) -> None:
    recipients = [f"busy-{number}" for number in range(50)]
    checked, found = (watched.value(f"notify_unread_drift_{name}_total") or 0 for name in ("checked", "found"))
    with Api(watched) as api:
        for recipient in recipients:
            api.request(f"/api/recipients/{recipient}/unread")
        process = watched.start([sys.executable, "-c", RECONCILE, "2", "3"])
        sent = 0
        while process.returncode is None:
            api.notify_all(recipients)
            api.post("/api/recipients/busy-1/read", {"all": True})
            sent += len(recipients)
        assert process.returncode == 0, process.tail()
        assert sent
        wait_until(lambda: (watched.value("notify_unread_drift_checked_total") or 0) >= checked + 150)
    assert watched.value("notify_unread_drift_found_total") == found


def test_what_the_gateway_refuses_is_counted(watched: Watched) -> None:
    with Socket(watched.url, None) as socket:
        assert socket.close_code() == 4401
    with Socket(watched.url, "x", Origin="https://elsewhere.example.org") as socket:
        assert socket.close_code() == 4403
    endless = httpx.get(f"{watched.url}/healthz", headers={"X-Endless": "x" * 40_000}, trust_env=False)
    assert endless.status_code == 431
    assert watched.value("notify_sockets_closed_total", reason="unauthenticated") == 1
    assert watched.value("notify_sockets_closed_total", reason="foreign_origin") == 1
    assert watched.value("notify_gateway_refused_total", status="431") == 1


def test_each_process_names_what_it_stands_on_and_what_it_does(watched: Watched) -> None:
    duties = {
        "worker": {"worker"},
        "scheduler": {"planner", "recorder", "retention", "drift"},
        "bulk_worker": {"fanout", "progress"},
        "dlq_worker": {"recorder"},
    }
    for kind, names in duties.items():
        assert watched.ask(kind, "/healthz").json() == {"status": "ok"}
        ready = watched.ask(kind, "/readyz")
        assert ready.status_code == 200, ready.text
        assert ready.json() == {"status": "ok", "checks": dict.fromkeys({"redis", "postgresql"} | names, "ok")}
        told = watched.ask(kind, "/metrics")
        assert told.headers["Content-Type"].startswith("text/plain")
        assert "notify_worker_stage_seconds_bucket" in told.text
        assert watched.ask(kind, "/").status_code == 404


def test_a_port_that_is_taken_is_one_line_and_the_end(watched: Watched) -> None:
    watched.env["NOTIFY_HEALTH_PORT"] = str(watched.ports["worker"])
    done = watched.manage("worker", check=False)
    del watched.env["NOTIFY_HEALTH_PORT"]
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert line.startswith("notify: NOTIFY_HEALTH_PORT: cannot listen on 127.0.0.1:")


def test_what_comes_through_a_proxy_needs_the_token(watched: Watched) -> None:
    for header in ("X-Forwarded-For", "Forwarded", "X-Real-IP", "Via"):
        answer = httpx.get(f"{watched.url}/metrics", headers={header: "203.0.113.9"}, trust_env=False)
        assert answer.status_code == 403
        assert answer.headers["Content-Type"] == "application/problem+json"


def test_an_outage_is_told_by_everybody_in_time(watched: Watched) -> None:
    accepted = watched.value("notify_events_accepted_total")
    watched.postgresql.stop()
    _assert_away(watched, "postgresql")
    wait_until(lambda: watched.ask("dlq_worker", "/readyz").status_code == 503, message="the process is ready")
    checks = watched.ask("scheduler", "/readyz").json()["checks"]
    assert (checks["redis"], checks["postgresql"], checks["planner"]) == ("ok", "OperationalError", "ok")
    # What Redis knows is told all the same.
    assert watched.value("notify_events_accepted_total") == accepted
    assert watched.value("notify_notifications") is None
    watched.postgresql.start()
    wait_until(lambda: watched.value("notify_up", server="postgresql") == 1, message="it is not up again")
    watched.valkey.freeze()
    _assert_away(watched, "redis")
    assert watched.value("notify_lane_entries", lane="live") is None
    assert watched.ask("worker", "/healthz").status_code == 200
    # In a cluster, somebody else of its process may have found the nodes away before.
    reasons = {"TimeoutError", "NodeAway"}
    wait_until(lambda: _check(watched, "worker") in reasons, message="the worker does not say what it waits for")
    watched.valkey.thaw()
    wait_until(lambda: watched.ask("worker", "/readyz").status_code == 200, message="the worker is not ready again")
    assert watched.value("notify_outages_total", kind="worker", duty="worker")
    assert watched.value("notify_outage_seconds_total", kind="worker", duty="worker")


def test_a_killed_worker_is_missed_and_what_it_counted_stays(watched: Watched) -> None:
    counted = watched.value("notify_worker_batch_events_count")
    assert counted
    watched.processes["worker"].kill()
    missed = {"kind": "worker", "state": "alive"}
    wait_until(lambda: watched.value("notify_processes", **missed) == 0, message="nobody misses it")
    assert watched.value("notify_worker_batch_events_count") == counted
    again = watched.start_worker()
    with Api(watched) as api:
        api.notify("alice")
    wait_until(lambda: (watched.value("notify_worker_batch_events_count") or 0) > counted, message="nothing is counted")
    assert again.returncode is None


def _check(watched: Watched, duty: str) -> str:
    """What the worker's process says of one of its duties."""
    checks: dict[str, str] = watched.ask("worker", "/readyz").json()["checks"]
    return checks[duty]


def _assert_away(watched: Watched, server: str) -> None:
    """The scrape says that a server is away; each answers in time."""
    slowest = 0.0

    def told() -> bool:
        nonlocal slowest
        began = time.monotonic()
        up = watched.value("notify_up", server=server)
        slowest = max(slowest, time.monotonic() - began)
        return up == 0

    wait_until(told, message="nobody says so")
    assert slowest < LIMIT_SECONDS + SLACK_SECONDS
