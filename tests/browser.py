"""Chromium for the browser tests, driven by Playwright. `python -m tests.browser` says whether there is one."""

import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from playwright.sync_api import Browser, ConsoleMessage, Dialog, Error, Page, sync_playwright

# The first is Chromium without the browser around it, which costs a third of the time.
NAMES: Final = ("chromium-headless-shell", "/usr/bin/chromium", "chromium", "chromium-browser", "google-chrome")
ADVICE: Final = "the browser tests need Chromium: apt-get install chromium-headless-shell, or set CHROMIUM to its path"
ARGUMENTS: Final = (
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


def chromium_path() -> str | None:
    """Where a usable Chromium is; None when there is none. $CHROMIUM alone decides where it is set."""
    names = (os.environ["CHROMIUM"],) if os.environ.get("CHROMIUM") else NAMES
    return next((path for path in map(shutil.which, names) if path), None)


@contextmanager
def chromium() -> Iterator[Browser]:
    """A headless Chromium. Its sandbox stays, except for root, for whom Chromium has none."""
    path = chromium_path()
    if path is None:
        raise AssertionError(ADVICE)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=ARGUMENTS, chromium_sandbox=os.geteuid() != 0)
        try:
            yield browser
        finally:
            browser.close()


class Complaints:
    """What goes wrong in pages: errors in the console (refusals by the policy too), exceptions, dialogs."""

    def __init__(self) -> None:
        self._heard: list[str] = []
        self._expected: list[str] = []

    def listen_to(self, page: Page) -> None:
        """Note every complaint of a page."""
        page.on("console", self._console)
        page.on("pageerror", self._exception)
        page.on("dialog", self._dialog)

    def expect(self, *parts: str) -> None:
        """Complaints with one of these in them are the point of the test."""
        self._expected += parts

    def unexpected(self) -> list[str]:
        """All others."""
        return [text for text in self._heard if not any(part in text for part in self._expected)]

    def _console(self, message: ConsoleMessage) -> None:
        if message.type in {"error", "warning"}:
            self._heard.append(f"{message.type}: {message.text} ({message.location.get('url')})")

    def _exception(self, error: Error) -> None:
        self._heard.append(f"exception: {error}")

    def _dialog(self, dialog: Dialog) -> None:
        self._heard.append(f"dialog: {dialog.message}")
        dialog.dismiss()


def main() -> int:
    """0 when there is a Chromium, else 1 and what to do."""
    if chromium_path() is None:
        print(ADVICE, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
