"""django-rq in this process. It reads the settings when it is imported, so they are made before."""

from django.conf import settings

if not settings.configured:
    settings.configure(RQ_QUEUES={}, DATABASES={}, INSTALLED_APPS=[])

import django_rq

__all__ = ["django_rq", "settings"]
