"""HTTP alone, under any WSGI server: `notify_project.wsgi:application`."""

import os

from django.conf import settings
from django.core.wsgi import get_wsgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "notify_project.settings")
settings.NOTIFY.require("database_url", "redis_url", "secret_key")
http = get_wsgi_application()

from notifications import collector  # noqa: E402
from notify_project import reports, urls  # noqa: E402, F401 - every view, before the first request

application = reports.of_wsgi(http)
collector.spare()
