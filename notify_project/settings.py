"""Django's settings, all of them derived from the environment (see configuration.py)."""

import os
from datetime import timedelta
from pathlib import Path
from typing import Any

import dj_database_url

from notifications.impatient import Impatient
from notifications.stream import addresses
from notifications.stream.client import SENTINEL_TIMEOUT_SECONDS
from notify_project import VERSION, logs
from notify_project.configuration import Configuration, ConfigurationError, networks, split_list
from notify_project.metrics import folder

BASE_DIR = Path(__file__).resolve().parent.parent

try:
    NOTIFY = Configuration.from_environment(os.environ)
    NOTIFY_TRUSTED_PROXIES = networks("trusted_proxies", NOTIFY.trusted_proxies)
    NOTIFY_METRICS_NETWORKS = networks("metrics_networks", NOTIFY.metrics_networks.removeprefix("none"))
    folder.prepare(NOTIFY.metrics_dir)
except ConfigurationError as error:
    raise SystemExit(f"notify: {error}") from None

SECRET_KEY = NOTIFY.secret_key
SECRET_KEY_FALLBACKS = split_list(NOTIFY.secret_key_fallbacks)
ALLOWED_HOSTS = split_list(NOTIFY.allowed_hosts)
NOTIFY_ALLOWED_ORIGINS = split_list(NOTIFY.allowed_origins)
DEBUG = NOTIFY.debug

INSTALLED_APPS = [
    # The plain one leaves the admin's classes to urls.py: a worker starts in four fifths of the time without them.
    "django.contrib.admin.apps.SimpleAdminConfig",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "axes",
    "rest_framework",
    "drf_spectacular",
    "drf_spectacular_sidecar",
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
# Which bulk jobs are not over, and when each was made: f() -> {id: time}.
NOTIFY_JOBS_UNDER_WAY = "bulk.sources.under_way"
# What apps keep of recipients, each in a module with `erase` and `export` (see notifications/privacy.py).
NOTIFY_PERSONAL_DATA = ["scheduler.privacy", "dlq.privacy"]

MIDDLEWARE = [
    "notify_project.asked.note",
    # Before the next one, which takes away what it has to know.
    "notify_project.metrics.middleware.measure",
    "notify_project.proxies.believe_ours",
    "django.middleware.security.SecurityMiddleware",
    "notify_project.policy.keep_to_ourselves",
    "notify_project.programs.Cors",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "notify_project.programs.Sessions",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "notify_project.programs.SignedIn",
    "notify_project.programs.Messages",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "axes.middleware.AxesMiddleware",
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


# Whether a session of the server is ours for a transaction only.
NOTIFY_DATABASE_POOLED = NOTIFY.database_pooler == "transaction"
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
        **_session_settings(given, END_IDLE_TRANSACTIONS),
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
    # A cursor of the server's outlives a transaction, and would be asked for where it is not.
    database["DISABLE_SERVER_SIDE_CURSORS"] = NOTIFY_DATABASE_POOLED
    return database


def _session_settings(given: dict[str, Any], settings: str) -> dict[str, str]:
    """Settings of each session; of a pooler's sessions none, which are the role's business (the doctor looks)."""
    return {} if NOTIFY_DATABASE_POOLED else {"options": f"{given.get('options', '')} {settings}".strip()}


def _replica() -> dict[str, Any]:
    """A replica, for lists (notifications/replica.py): the primary answers where this one takes long."""
    database: dict[str, Any] = dict(dj_database_url.parse(NOTIFY.database_replica_url))
    given = database.get("OPTIONS", {})
    database["OPTIONS"] = {
        **KEEP_ALIVE,
        "connect_timeout": 2,
        "application_name": "notify",
        **given,
        **_session_settings(given, f"{END_IDLE_TRANSACTIONS} -c statement_timeout=1000"),
        "pool": {
            "connection_class": Impatient,
            "min_size": 0,
            "max_size": NOTIFY.database_pool,
            "max_idle": 60,
            "timeout": 1,
            "reconnect_timeout": 0.5,
        },
    }
    database["CONN_HEALTH_CHECKS"] = True
    database["TEST"] = {"MIRROR": "default"}
    return database


DATABASES = {"default": _database()} if NOTIFY.database_url else {}
if NOTIFY.database_url and NOTIFY.database_replica_url:
    DATABASES["replica"] = _replica()
DATABASE_ROUTERS = ["notifications.replica.Router"]
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"


def _channel_host() -> dict[str, Any]:
    """Where live frames go by, as channels_redis takes it."""
    patience = {"socket_timeout": 30, "max_connections": 1000}
    url = NOTIFY.channel_redis_url or NOTIFY.redis_url
    address = addresses.parse(url) if url else None
    if address is None or address.kind != "sentinel":
        return {"address": url, **patience}
    options = dict(address.options)
    tls = {"ssl": True} if options.pop("connection_class", None) else {}
    return {
        "sentinels": list(address.places),
        "sentinel_kwargs": {"socket_timeout": SENTINEL_TIMEOUT_SECONDS, **address.asking, **tls},
        "master_name": address.service,
        **options,
        **tls,
        **patience,
    }


# The Pub/Sub layer, not the list-based one: frames are hints, `seq` makes them whole (docs/architecture.md).
CHANNEL_LAYERS = {
    "default": {
        "BACKEND": "notifications.live.layer.PubSubLayer",
        "CONFIG": {
            "hosts": [_channel_host()],
            "prefix": "notify.",
        },
    },
}

AUTH_PASSWORD_VALIDATORS = [
    {"NAME": "django.contrib.auth.password_validation.MinimumLengthValidator"},
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
]
AUTHENTICATION_BACKENDS = ["axes.backends.AxesStandaloneBackend", "django.contrib.auth.backends.ModelBackend"]
LOGIN_URL = "admin:login"

# Sign-in is limited for each pair of a user and an address (sign_in.py).
AXES_HANDLER = "notify_project.sign_in.Handler"
AXES_LOCKOUT_CALLABLE = "notify_project.sign_in.refuse"
AXES_CLIENT_IP_CALLABLE = "notify_project.sign_in.address"
AXES_LOCKOUT_PARAMETERS = [["username", "ip_address"]]
AXES_FAILURE_LIMIT = NOTIFY.sign_in_failures
AXES_COOLOFF_TIME = timedelta(seconds=NOTIFY.sign_in_pause_seconds)
# Or whoever goes on trying would keep the pause from ending.
AXES_RESET_COOL_OFF_ON_FAILURE_DURING_LOCKOUT = False
AXES_RESET_ON_SUCCESS = True
# Who signed in from where is kept nowhere but in the log; failures only until they count no more.
AXES_DISABLE_ACCESS_LOG = True
AXES_SENSITIVE_PARAMETERS = ["username", "ip_address", "csrfmiddlewaretoken"]
AXES_ENABLE_ADMIN = False
AXES_VERBOSE = False

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
SECURE_REFERRER_POLICY = "same-origin"
SECURE_CROSS_ORIGIN_OPENER_POLICY = "same-origin"
X_FRAME_OPTIONS = "DENY"
SESSION_COOKIE_HTTPONLY = True
SESSION_COOKIE_SAMESITE = CSRF_COOKIE_SAMESITE = "Lax"

# Everything that holds only where browsers come by https: a cookie that is `Secure` is lost on http://localhost.
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = SECURE_SSL_REDIRECT = NOTIFY.https
SECURE_HSTS_SECONDS = 31_536_000 if NOTIFY.https else 0
# Who looks after the process asks it directly, by http.
SECURE_REDIRECT_EXEMPT = [r"^healthz$", r"^readyz$", r"^metrics$"]
# Of a proxy that is not trusted the header does not get here (proxies.py).
SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https") if NOTIFY.trusted_proxies else None
CSRF_TRUSTED_ORIGINS = [
    f"https://{f'*{host}' if host.startswith('.') else host}" for host in ALLOWED_HOSTS if NOTIFY.https and host != "*"
]
# HSTS for all that is below our host, and in every browser's list: what else lives there is not ours to decide.
SILENCED_SYSTEM_CHECKS = ["security.W005", "security.W021"]

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
    "DEFAULT_SCHEMA_CLASS": "notifications.api.schema.inspector.Inspector",
}

# Where each app says what its part of the API takes and answers (notifications/api/schema).
NOTIFY_API_DESCRIBED_IN = [
    "notifications.api.schema.sending.OPERATIONS",
    "notifications.api.schema.inboxes.OPERATIONS",
    "notifications.api.schema.privacy.OPERATIONS",
    "scheduler.api.schema.OPERATIONS",
    "bulk.api.schema.OPERATIONS",
    "dlq.api.schema.OPERATIONS",
    "notify_project.dashboard.schema.OPERATIONS",
    "notifications.api.schema.standing.OPERATIONS",
]
SPECTACULAR_SETTINGS = {
    "OAS_VERSION": "3.1.0",
    "TITLE": "Notify",
    "VERSION": VERSION,
    "SCHEMA_PATH_PREFIX": "/api/",
    "PREPROCESSING_HOOKS": ["notifications.api.schema.inspector.of_the_api"],
    "POSTPROCESSING_HOOKS": ["notifications.api.schema.inspector.complete"],
}

LOGGING = logs.configure(NOTIFY.log_level, NOTIFY.log_format)
# sign_in.py tells of failures, in a line with fields.
LOGGING["loggers"]["axes"] = {"level": "ERROR"}
