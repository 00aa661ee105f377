"""The Django project: settings, addresses, the two servers' entry points, and the page for staff."""

from typing import Final

# The one place where it stands.
VERSION: Final = "0.1.0"
