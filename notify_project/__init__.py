"""The Django project: settings, addresses, the two servers' entry points, and the page for staff."""
