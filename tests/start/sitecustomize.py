"""Python imports this by itself, where its folder is on the path: as it is for every process of a stack.

Such a process starts without what only the tests brought along, as it does in production: half of what is left out are
libraries that others import where they find them, which takes a fifth of a start.
"""

import os
import sys
from typing import Final

ONLY_FOR_TESTS: Final = ("rich",)
ONLY_FOR_TRACES: Final = ("opentelemetry.sdk",)

left_out = ONLY_FOR_TESTS if os.environ.get("NOTIFY_TRACING") else (*ONLY_FOR_TESTS, *ONLY_FOR_TRACES)
# What is None there cannot be imported.
sys.modules.update(dict.fromkeys(left_out))  # type: ignore[arg-type]
