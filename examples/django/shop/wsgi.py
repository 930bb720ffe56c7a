import os

from django.core.wsgi import get_wsgi_application
from werkzeug.middleware.dispatcher import DispatcherMiddleware

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "shop.settings")
django_application = get_wsgi_application()

from shop.hooks import relay  # noqa: E402 - it reads the settings, and models if its transforms use some

application = DispatcherMiddleware(django_application, {"/relay": relay.app})
