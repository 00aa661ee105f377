"""The folder in which processes that share it keep what they count: NOTIFY_METRICS_DIR."""

import os
from pathlib import Path
from typing import Final

from notify_project.configuration import ConfigurationError

# prometheus-client reads it when it is imported.
VARIABLE: Final = "PROMETHEUS_MULTIPROC_DIR"


def prepare(folder: str) -> None:
    """Make the folder, and have prometheus-client use it; without one, each process counts for itself.

    Raises ConfigurationError.
    """
    os.environ.pop(VARIABLE, None)
    if not folder:
        return
    try:
        Path(folder).mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigurationError(f"NOTIFY_METRICS_DIR: {error}") from None
    if not os.access(folder, os.W_OK | os.X_OK):
        raise ConfigurationError(f"NOTIFY_METRICS_DIR: {folder} cannot be written to")
    os.environ[VARIABLE] = folder
