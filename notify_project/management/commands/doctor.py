"""`manage.py doctor`: says whether this deployment is fit for production, and mends what can be mended."""

from argparse import ArgumentParser
from collections.abc import Callable, Iterable
from typing import Any

import msgspec
from django.conf import settings
from django.core.management.base import BaseCommand, CommandError
from django.db import DatabaseError

from notifications import process, unread, wiring
from notify_project.doctor.examination import examine
from notify_project.doctor.finding import Finding
from scheduler.comparison import Comparison


class Command(BaseCommand):
    """Looks, and changes nothing, unless it is told what to mend."""

    help = "Check settings, servers and processes; exit code 1, with the mend, where they are not fit for production."
    requires_system_checks = []

    def add_arguments(self, parser: ArgumentParser) -> None:
        """How to answer; or what to mend."""
        parser.add_argument("--json", action="store_true", help="the findings as JSON")
        parser.add_argument(
            "--after-restore",
            action="store_true",
            help="only bring Redis and PostgreSQL together again, after either was restored (docs/backup.md)",
        )
        parser.add_argument(
            "--rebuild-schedules",
            action="store_true",
            help="only put back into Redis the schedules that it lost, from PostgreSQL",
        )

    def handle(self, *args: Any, **options: Any) -> None:  # noqa: ANN401, ARG002 - Django's signature
        """Examine, or mend. Raises SystemExit where something is not fit."""
        settings.NOTIFY.require("database_url", "redis_url")
        process.single_connection()
        if options["after_restore"]:
            self._mend(self._forget_mirrors)
            self._mend(self._rebuild_schedules)
        elif options["rebuild_schedules"]:
            self._mend(self._rebuild_schedules)
        elif not (self._as_json(examine()) if options["json"] else self._as_lines(examine())):
            raise SystemExit(1)

    def _as_lines(self, findings: Iterable[Finding]) -> bool:
        """A line a finding, as soon as it is there; whether all is fit."""
        fit = True
        for finding in findings:
            fit = fit and finding.level != "fail"
            mend = f" → {finding.mend}" if finding.mend else ""
            self.stdout.write(f"{finding.level:<5} {finding.check}: {finding.detail}{mend}")
        self.stdout.write("fit for production" if fit else "not fit for production")
        return fit

    def _as_json(self, findings: Iterable[Finding]) -> bool:
        found = list(findings)
        fit = all(finding.level != "fail" for finding in found)
        answer = {"fit": fit, "findings": [finding._asdict() for finding in found]}
        self.stdout.write(msgspec.json.format(msgspec.json.encode(answer)).decode())
        return fit

    def _mend(self, mend: Callable[[], str]) -> None:
        """Mend something, and say what was done."""
        try:
            self.stdout.write(mend())
        except process.OUTAGES as error:
            server = "PostgreSQL" if isinstance(error, DatabaseError) else "Redis"
            raise CommandError(f"{server} does not answer; run this again: {error}") from None

    @staticmethod
    def _forget_mirrors() -> str:
        """A mirror that is newer than the restored inbox, or older, would be believed: the next look makes it anew."""
        return f"{unread.forget_all(wiring.patient_shards())} mirrors of inboxes forgotten"

    @staticmethod
    def _rebuild_schedules() -> str:
        """Compare every schedule: what a scheduler does at its start, by hand."""
        comparison = Comparison(wiring.patient_schedules())
        while comparison.step():
            pass
        return f"{comparison.compared} schedules compared, {comparison.restored} put back"
