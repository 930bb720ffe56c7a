import os

SECRET_KEY = os.environ.get("SECRET_KEY", "change-me")
ALLOWED_HOSTS = ["127.0.0.1", "localhost"]
TIME_ZONE = "UTC"
ROOT_URLCONF = "shop.urls"
INSTALLED_APPS = ["django.contrib.contenttypes", "django_rq"]
DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}}

REDIS_URL = os.environ.get("REDIS_URL", "redis://localhost:6379/0")
RQ_QUEUES = {
    "default": {"URL": REDIS_URL},
    "orders": {"URL": REDIS_URL, "DEFAULT_TIMEOUT": 60, "DEFAULT_RESULT_TTL": 3600},
}

# The relay logs as "trafficrelay": what it refuses and why, never a payload.
LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"lines": {"format": "%(asctime)s %(levelname)s %(name)s %(message)s"}},
    "handlers": {"console": {"class": "logging.StreamHandler", "formatter": "lines"}},
    "loggers": {"trafficrelay": {"handlers": ["console"], "level": "INFO"}},
}
