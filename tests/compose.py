"""docker-compose*.yml without Docker: each service's own command and environment, beside embedded servers."""

import os
import re
import ssl
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import yaml

from notify_project.local.children import PROJECT
from tests.stack import HOST, READ, Process, Stack, free_port, wait_until

# Of these a later file's replaces an earlier one's; other lists grow longer.
REPLACED: Final = frozenset({"command", "test"})
CADDY: Final = Path(sys.executable).with_name("caddy")
SITE: Final = "localhost"
GIVEN: Final = {
    "SECRET_KEY": "a-secret-that-only-this-test-knows-of",
    "POSTGRES_PASSWORD": "p",
    "NOTIFY_SITE": SITE,
}


def merged(*names: str) -> dict[str, Any]:
    """Compose files as Compose puts them together."""
    whole: dict[str, Any] = {}
    for name in names:
        whole = put_together("", whole, yaml.safe_load((PROJECT / name).read_text()))
    return whole


def put_together(key: str, earlier: Any, later: Any) -> Any:
    """Two values of one key: mappings are merged, lists grow, and what is not to grow is replaced."""
    if isinstance(earlier, dict) and isinstance(later, dict):
        return earlier | {name: put_together(name, earlier.get(name), value) for name, value in later.items()}
    return earlier + later if isinstance(earlier, list) and key not in REPLACED else later


def interpolated(value: str) -> str:
    """A value as Compose reads it: `${NAME:?…}` has to be given, `${NAME:-default}` may be."""
    return re.sub(
        r"\$\{(\w+):([?-])([^}]*)\}",
        lambda match: GIVEN[match[1]] if match[2] == "?" else GIVEN.get(match[1], match[3]),
        value,
    )


COMPOSE: Final = merged("docker-compose.yml")
SERVICES: Final[dict[str, dict[str, Any]]] = COMPOSE["services"]
OURS: Final = [name for name, service in SERVICES.items() if service.get("image") == "notify"]


class Containers:
    """The file's services, run from it. What differs from there: addresses, ports, and where /tmp is."""

    def __init__(self, stack: Stack, services: Mapping[str, dict[str, Any]] = SERVICES) -> None:
        self.stack = stack
        self._services = services
        # The site's, once the proxy runs.
        self.url = ""
        self._ports: dict[str, int] = {}
        self._listening: dict[int, int] = {}

    def environment(self, service: str, port: int) -> dict[str, str]:
        """The service's environment; a container of it listens on a port of its own."""
        stated = {name: interpolated(value) for name, value in self._services[service].get("environment", {}).items()}
        addresses = {name: self.stack.env[name] for name in READ & self.stack.env.keys() if name.endswith("_URL")}
        differing = addresses | {
            "NOTIFY_TRUSTED_PROXIES": HOST,
            "NOTIFY_HEALTH_PORT": str(port),
            "NOTIFY_METRICS_DIR": str(self.stack.folder / f"metrics-{service}"),
        }
        assert {*addresses, "NOTIFY_TRUSTED_PROXIES"} <= stated.keys()
        return {"PATH": os.environ["PATH"]} | stated | {name: differing[name] for name in stated.keys() & differing}

    def start(self, service: str) -> Process:
        """Start one container of a service of ours."""
        port = self._ports[service] = free_port()
        words = [_here(word, port) for word in self._services[service]["command"]]
        assert words[0] == "python"
        process = self.stack.start([sys.executable, *words[1:]], self.environment(service, port))
        self._listening[process.pid] = port
        return process

    def address(self, service: str) -> str:
        """Where the last started container of a service is asked."""
        return f"http://{HOST}:{self._ports[service]}"

    def wait_healthy(self, service: str, process: Process) -> None:
        """Ask as the file's health check does, until it says yes."""
        kind, program, *words = self._services[service]["healthcheck"]["test"]
        assert (kind, program) == ("CMD", "python")
        command = [sys.executable, *(_here(word, self._listening[process.pid]) for word in words)]

        def healthy() -> bool:
            assert process.returncode is None, process.tail()
            return subprocess.run(command, capture_output=True, check=False, timeout=10).returncode == 0

        wait_until(healthy, message=f"{service} never became healthy")

    def start_proxy(self) -> Process:
        """Start Caddy on the file's configuration, with a certificate of its own making."""
        text = COMPOSE["configs"]["caddyfile"]["content"].replace("$$", "$")
        for service in ("http", "gateway"):
            text = _replaced(text, f"dynamic a {service} 8000", f"dynamic a {SITE} {self._ports[service]}")
        port = free_port()
        self.url = f"https://{SITE}:{port}"
        options = f"admin off\nskip_install_trust\ndefault_bind {HOST}\nhttp_port {free_port()}\nhttps_port {port}\n"
        configuration = self.stack.folder / "Caddyfile"
        configuration.write_text(_replaced(text, "{\n", "{\n" + options))
        homes = dict.fromkeys(("HOME", "XDG_DATA_HOME", "XDG_CONFIG_HOME"), str(self.stack.folder / "caddy"))
        environment = {"PATH": os.environ["PATH"], "NOTIFY_SITE": SITE, **homes}
        return self.stack.start(
            [str(CADDY), "run", "--config", str(configuration), "--adapter", "caddyfile"], environment
        )

    def trust(self) -> ssl.SSLContext:
        """What makes a client believe the proxy's certificate, once there is one."""
        root = self.stack.folder / "caddy" / "caddy" / "pki" / "authorities" / "local" / "root.crt"
        wait_until(root.exists, message="the proxy made no certificate")
        return ssl.create_default_context(cafile=str(root))


def _here(word: str, port: int) -> str:
    return re.sub(r"\b(8000|8001)\b", str(port), word).replace("0.0.0.0", HOST)  # noqa: S104 - not to be there


def _replaced(text: str, old: str, new: str) -> str:
    assert old in text, old
    return text.replace(old, new, 1)
