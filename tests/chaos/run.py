"""A run from its plan to its report: begin, break things, mend them, wait for rest, look at everything, judge."""

import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Final

import httpx
import psycopg
from redis.exceptions import RedisError

from notify_project.local.exceptions import StartError
from tests import truth
from tests.chaos import facts, ledger, report, verdict
from tests.chaos.clock import Caller, Clock
from tests.chaos.crowd import Crowd
from tests.chaos.deployment import TICK_SECONDS, Deployment
from tests.chaos.faults import Faults
from tests.chaos.layout import Layout
from tests.chaos.ledger import Ledger
from tests.chaos.plan import Plan
from tests.chaos.report import Report
from tests.stack import Stack

WHOLE_SECONDS: Final = 60.0
ANSWERED_SECONDS: Final = 90.0
REST_SECONDS: Final = 120.0
SEEN_SECONDS: Final = 60.0
PROGRESS_SECONDS: Final = 15.0
UNREACHABLE: Final = (RedisError, psycopg.Error, httpx.TransportError)

ORDERED: Final = "SELECT count(*) FROM dlq_deadletter WHERE status = 1"
WAITING: Final = "SELECT count(*) FROM scheduler_schedule WHERE status = 0"
UNDER_WAY: Final = "SELECT count(*) FROM bulk_bulkjob WHERE finished_at IS NULL AND status <> 0"
HEADS: Final = "SELECT recipient, seq FROM notifications_inbox"


class Run:
    """One run in a folder, which it fills with servers' data, logs and the ledger."""

    def __init__(self, folder: Path, plan: Plan, layout: Layout, say: Callable[[str], None]) -> None:
        self._folder = folder
        self._plan = plan
        self._layout = layout
        self._say = say

    def carry_out(self) -> Report:
        """The whole run. Ends everything that it started, however it ends."""
        path, servers = self._folder / "ledger.jsonl", self._folder / "stack"
        servers.mkdir()
        with (
            self._layout.stack(servers) as stack,
            Deployment(stack, self._layout, self._plan.seed) as deployment,
        ):
            clock = Clock()
            crowd = Crowd(clock, deployment, self._plan, Ledger(path))
            faults = Faults(clock, deployment, self._plan.faults)
            crowd.start()
            self._break(clock, deployment, faults, crowd)
            remainder = self._calm_down(clock, deployment, crowd)
            wrong_answers = crowd.reading.wrong + crowd.operator.wrong
            caller = Caller(deployment.gateways, stack.api_key)
            there = facts.gather(stack, caller, crowd.followers.values(), remainder, wrong_answers)
            crowd.end()
            return self._report(clock, deployment, faults, crowd, there, ledger.read(path))

    def _break(self, clock: Clock, deployment: Deployment, faults: Faults, crowd: Crowd) -> None:
        told = 0.0
        while clock.now() < self._plan.seconds:
            faults.look()
            deployment.look()
            crowd.check()
            if clock.now() - told > PROGRESS_SECONDS:
                told = clock.now()
                accepted = crowd.traffic()["events accepted"]
                self._say(f"{told:6.0f} s  {accepted} events accepted, {len(faults.log)} faults")
            time.sleep(TICK_SECONDS)

    def _calm_down(self, clock: Clock, deployment: Deployment, crowd: Crowd) -> list[str]:
        """End faults and traffic, and wait for rest; returns what is not as it should be then, in words."""
        clock.end()
        deployment.mend()
        self._say("faults are over; waiting for rest")
        stack = deployment.stack
        conditions: list[tuple[str, Callable[[], bool], float]] = [
            ("not everything runs and answers again", deployment.whole, WHOLE_SECONDS),
            ("the cluster is not in order", lambda: in_order(stack), WHOLE_SECONDS),
            ("some producers have no answer", crowd.gone, ANSWERED_SECONDS),
            ("not at rest", lambda: not left_over(stack), REST_SECONDS),
        ]
        complaints = [words for words, holds, seconds in conditions if not deployment.watch_until(holds, seconds)]
        crowd.check()
        complaints += deployment.mover.complaints if deployment.mover else []
        heads = dict(stack.sql(HEADS))
        # Whoever does not get there is told by name in the verdict.
        deployment.watch_until(lambda: crowd.have_seen(heads), SEEN_SECONDS)
        return complaints + left_over(stack)

    def _report(
        self,
        clock: Clock,
        deployment: Deployment,
        faults: Faults,
        crowd: Crowd,
        there: facts.Facts,
        lines: list[ledger.Line],
    ) -> Report:
        members = deployment.members.values()
        found = verdict.judge(lines, there)
        for member in members:
            if not self._layout.targets.is_server(member.name):
                found += verdict.judge_process(member.name, member.slowest_stop, member.endings)
        return Report(
            seed=self._plan.seed,
            minutes=self._plan.seconds / 60,
            layout=str(self._layout),
            wrong=report.counts_of(found),
            findings=report.told(found),
            traffic=dict(sorted(crowd.traffic().items())) | report.outcomes(lines, there),
            sockets={
                "clients": len(crowd.followers),
                "connection attempts": sum(follower.connections + 1 for follower in crowd.followers.values()),
                "notifications": sum(len(seen) for seen in there.seen.values()),
            },
            silence=report.silence_of(lines, clock.begun_unix, self._plan.seconds),
            delay=report.delay_of(lines, there.rows, clock.begun_unix, faults.log),
            slowest_stops={member.name: member.slowest_stop for member in members if member.slowest_stop},
            faults={target: dict(counts) for target, counts in faults.counts().items()},
            ended_by_themselves={member.name: dict(member.endings) for member in members if member.endings},
            fault_log=faults.log,
        )


def in_order(stack: Stack) -> bool:
    """Whether every primary has a replica; where slots that moved left one without, it gets one, as by an operator."""
    if stack.cluster is None:
        return True
    try:
        stack.cluster.restore_replicas()
        return stack.cluster.is_in_order()
    except (LookupError, OSError, StartError, *UNREACHABLE):
        return False


def left_over(stack: Stack) -> list[str]:
    """What is not at rest, in words; a server that does not answer is not either."""
    with suppress(*UNREACHABLE):
        ordered, waiting = stack.sql(ORDERED)[0][0], stack.sql(WAITING)[0][0]
        found = truth.left_over(stack)
        found += [f"{ordered} replays ordered and not carried out"] if ordered else []
        found += [f"{waiting} schedules that did not fire"] if waiting else []
        under_way = stack.sql(UNDER_WAY)[0][0]
        return found + ([f"{under_way} bulk jobs that are not over"] if under_way else [])
    return ["a server does not answer"]
