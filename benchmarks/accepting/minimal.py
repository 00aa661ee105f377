"""Django with nothing in it: what the contenders besides Notify stand on."""

from typing import Any

import django
from django.conf import settings

from benchmarks.servers import SECRET_KEY


def configure(urls: str, **more: Any) -> None:  # noqa: ANN401 - Django's settings
    """No middleware, no database, no sessions, no templates; `urls` is the module with the addresses."""
    settings.configure(
        SECRET_KEY=SECRET_KEY,
        ALLOWED_HOSTS=["127.0.0.1"],
        ROOT_URLCONF=urls,
        MIDDLEWARE=[],
        USE_I18N=False,
        DATA_UPLOAD_MAX_MEMORY_SIZE=10 * 1024 * 1024,
        **more,
    )
    django.setup(set_prefix=False)
