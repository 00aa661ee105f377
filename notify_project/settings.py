"""Django's settings, all of them derived from the environment (see configuration.py)."""

import os
from pathlib import Path
from typing import Any

import dj_database_url

from notify_project import logs
from notify_project.configuration import Configuration, ConfigurationError, split_list

BASE_DIR = Path(__file__).resolve().parent.parent

try:
    NOTIFY = Configuration.from_environment(os.environ)
except ConfigurationError as error:
    raise SystemExit(f"notify: {error}") from None

SECRET_KEY = NOTIFY.secret_key
SECRET_KEY_FALLBACKS = split_list(NOTIFY.secret_key_fallbacks)
ALLOWED_HOSTS = split_list(NOTIFY.allowed_hosts)
NOTIFY_ALLOWED_ORIGINS = split_list(NOTIFY.allowed_origins)
DEBUG = NOTIFY.debug

INSTALLED_APPS = [
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "rest_framework",
    "corsheaders",
    "channels",
    "notifications",
    "scheduler",
    "bulk",
    "dlq",
    "notify_project",
]

# Where an event's life is looked up that is neither in flight nor a row: f(id) -> its life, or None.
NOTIFY_LIVES_ELSEWHERE = ["dlq.lookup.life", "scheduler.lookup.life"]
# Who counts the events of a bulk job that were given up: f(source ids) -> {source id: how many}.
NOTIFY_DEAD_COUNTED_BY = "dlq.lookup.dead_of"

MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "notify_project.policy.keep_to_ourselves",
    "corsheaders.middleware.CorsMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]

ROOT_URLCONF = "notify_project.urls"
ASGI_APPLICATION = "notify_project.asgi.application"
WSGI_APPLICATION = "notify_project.wsgi.application"
# An API answers the address it was asked at; a redirect to add a slash would drop a POST's body.
APPEND_SLASH = False

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ],
        },
    },
]


END_IDLE_TRANSACTIONS = "-c idle_in_transaction_session_timeout=5000"

# A host that is gone without a word is noticed in some ten seconds, not when TCP gives up after two hours.
KEEP_ALIVE = {
    "keepalives_idle": 5,
    "keepalives_interval": 2,
    "keepalives_count": 3,
    "tcp_user_timeout": 15_000,
}


def _database() -> dict[str, Any]:
    """The default database. The web draws from a pool; a command drops it for one connection of its own."""
    database: dict[str, Any] = dict(dj_database_url.parse(NOTIFY.database_url))
    given = database.get("OPTIONS", {})
    database["OPTIONS"] = {
        **KEEP_ALIVE,
        "connect_timeout": 3,
        "application_name": "notify",
        **given,
        # A process that stands still in the middle of a transaction (a stopped container, a lost host) holds the locks
        # of the inboxes it touched. The server ends such a transaction; ours take milliseconds between two statements.
        # What it does not end, notifications/standstill.py does.
        "options": f"{given.get('options', '')} {END_IDLE_TRANSACTIONS}".strip(),
        "pool": {
            "min_size": 0,
            "max_size": NOTIFY.database_pool,
            "max_idle": 60,
            "timeout": 3,
            # Its own back-off doubles for minutes, in which requests fail though the server is back. Given up at once,
            # the next request tries again.
            "reconnect_timeout": 0.5,
        },
    }
    # The pool looks at a connection before it hands it out, so a restarted server costs no request an error.
    database["CONN_HEALTH_CHECKS"] = True
    return database


DATABASES = {"default": _database()} if NOTIFY.database_url else {}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

# The Pub/Sub layer, not the list-based one: frames are hints, `seq` makes them whole (docs/architecture.md).
CHANNEL_LAYERS = {
    "default": {
        "BACKEND": "channels_redis.pubsub.RedisPubSubChannelLayer",
        "CONFIG": {
            "hosts": [{"address": NOTIFY.redis_url, "socket_timeout": 30, "max_connections": 1000}],
            "prefix": "notify.",
        },
    },
}

AUTH_PASSWORD_VALIDATORS = [
    {"NAME": "django.contrib.auth.password_validation.MinimumLengthValidator"},
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
]
LOGIN_URL = "admin:login"

LANGUAGE_CODE = "en"
USE_I18N = False
USE_TZ = True
TIME_ZONE = "UTC"

# The API, for pages of other origins that show `<notify-inbox>` with a recipient's token. Never with cookies: a session
# of staff is not theirs to use. Scripts and styles are everybody's; whitenoise says so.
CORS_URLS_REGEX = r"^/api/"
CORS_ALLOW_ALL_ORIGINS = "*" in NOTIFY_ALLOWED_ORIGINS
CORS_ALLOWED_ORIGINS = [origin for origin in NOTIFY_ALLOWED_ORIGINS if origin != "*"]
CORS_ALLOW_HEADERS = ["authorization", "content-type"]
CORS_EXPOSE_HEADERS = ["Retry-After"]

STATIC_URL = "static/"
# Static files are served from where the apps keep them: no collect step stands between a clone and a page.
WHITENOISE_USE_FINDERS = True

SECURE_CONTENT_TYPE_NOSNIFF = True
SESSION_COOKIE_HTTPONLY = True
SESSION_COOKIE_SAMESITE = "Lax"

# The largest body of any route (an inline bulk, 10 MiB); each API route has its own limit below that.
DATA_UPLOAD_MAX_MEMORY_SIZE = 10 * 1024 * 1024

REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": ["notifications.access.authentication.NotifyAuthentication"],
    "DEFAULT_PERMISSION_CLASSES": ["rest_framework.permissions.IsAuthenticated"],
    "DEFAULT_RENDERER_CLASSES": ["notifications.api.negotiation.JSONRenderer"],
    "DEFAULT_PARSER_CLASSES": [],
    "DEFAULT_CONTENT_NEGOTIATION_CLASS": "notifications.api.negotiation.AlwaysJSON",
    "EXCEPTION_HANDLER": "notifications.api.problems.exception_handler",
    "UNAUTHENTICATED_USER": None,
}

LOGGING = logs.configure(NOTIFY.log_level, NOTIFY.log_format)
