"""Who may scrape, and what several processes that share a folder count together."""

import os
import subprocess
import sys
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import msgspec
import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse

from notifications import scrape

pytestmark = pytest.mark.one_shard_is_enough

TOKEN = "a-token-for-tests-only"

COUNTING = """
import sys, django
django.setup()
from notifications import metrics, scrape
def count():
    metrics.refused.labels("invalid").inc(2)
    metrics.late_seconds.observe(0.02)
def told():
    text, media_type = scrape.text(sys.argv[1] if len(sys.argv) > 1 else "")
    sys.stdout.write(text.decode())
    sys.stdout.flush()
"""


@pytest.fixture
def access(settings: Any) -> Any:
    """Say who may."""

    def configure(token: str = "", near: str = "127.0.0.0/8,::1/128,10.1.0.0/16") -> None:
        settings.NOTIFY = msgspec.structs.replace(settings.NOTIFY, metrics_token=token)
        settings.NOTIFY_METRICS_NETWORKS = [ip_network(one) for one in near.split(",") if one]

    return configure


@pytest.mark.parametrize("address", ["127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.1", "10.1.2.3"])
def test_whoever_is_near_needs_no_token(access: Any, address: str) -> None:
    access()
    assert scrape.refusal(address, "") is None
    access(TOKEN)
    assert scrape.refusal(address, "Bearer wrong") is None


@pytest.mark.parametrize("address", ["10.2.0.1", "203.0.113.9", "2001:db8::1", "", "unix:", "127.0.0.1, 203.0.113.9"])
def test_others_come_with_the_token_or_not_at_all(access: Any, address: str) -> None:
    access()
    refused = scrape.refusal(address, f"Bearer {TOKEN}")
    assert refused is not None
    assert refused.status == 403
    access(TOKEN)
    assert scrape.refusal(address, f"Bearer {TOKEN}") is None
    assert scrape.refusal(address, f"bearer  {TOKEN} ") is None
    for wrong in ("", "Bearer", "Bearer ", f"Bearer {TOKEN}x", f"Basic {TOKEN}", TOKEN, "Bearer é"):
        refused = scrape.refusal(address, wrong)
        assert refused is not None
        assert refused.status == 401


def test_nobody_is_near_where_no_network_is(access: Any) -> None:
    access(TOKEN, near="")
    assert scrape.refusal("127.0.0.1", "") is not None


def run(folder: Path, code: str, *arguments: str) -> subprocess.Popen[str]:
    environment = os.environ | {
        "DJANGO_SETTINGS_MODULE": "notify_project.settings",
        "NOTIFY_METRICS_DIR": str(folder),
    }
    return subprocess.Popen(
        [sys.executable, "-c", COUNTING + code, *arguments],
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def value(text: str, sample: str, **labels: str) -> float:
    found = [one for family in parse(text) for one in family.samples if (one.name, one.labels) == (sample, labels)]
    (one,) = found
    return float(one.value)


def counted(folder: Path) -> tuple[float, float, str]:
    """What a process that counted nothing says of the others."""
    text, _ = run(folder, "told()").communicate(timeout=30)
    return (
        value(text, "notify_refused_total", reason="invalid"),
        value(text, "notify_schedule_late_seconds_count"),
        text,
    )


def test_any_process_tells_what_all_of_a_folder_counted_also_those_that_were_killed(tmp_path: Path) -> None:
    folder = tmp_path / "metrics"
    two = [run(folder, "count(); print('counted', flush=True); sys.stdin.read()") for _ in range(2)]
    for one in two:
        assert one.stdout is not None
        assert one.stdout.readline() == "counted\n"
    assert counted(folder)[:2] == (4, 2)
    two[0].kill()
    two[0].wait()
    assert counted(folder)[:2] == (4, 2)
    third = run(folder, "count(); print('counted', flush=True); sys.stdin.read()")
    assert third.stdout is not None
    assert third.stdout.readline() == "counted\n"
    assert counted(folder)[:2] == (6, 3)
    # As many files as live, not as ever were: what the dead counted is in one.
    for one in (two[1], third):
        one.communicate(timeout=30)
    *sums, text = counted(folder)
    assert sums == [6, 3]
    assert value(text, "notify_schedule_late_seconds_bucket", le="0.025") == 3
    assert value(text, "notify_schedule_late_seconds_bucket", le="0.01") == 0
    counted(folder)
    assert len(list(folder.glob("counter_*.db"))) <= 2


def test_a_folder_speaks_openmetrics_too(tmp_path: Path) -> None:
    text, _ = run(tmp_path, "count(); told()", "application/openmetrics-text; version=1.0.0").communicate(timeout=30)
    families = {family.name: family for family in parse_openmetrics(text)}
    assert families["notify_refused"].type == "counter"
    assert families["notify_schedule_late_seconds"].type == "histogram"
    assert text.endswith("# EOF\n")


def test_a_folder_that_cannot_be_used_stops_the_start_with_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    environment = os.environ | {"NOTIFY_METRICS_DIR": str(tmp_path / "file" / "metrics")}
    code = "import notify_project.settings"
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=30, check=False
    )
    assert done.returncode == 1
    assert done.stderr.startswith("notify: NOTIFY_METRICS_DIR: ")
    assert len(done.stderr.splitlines()) == 1
