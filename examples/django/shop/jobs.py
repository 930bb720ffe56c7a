"""What `manage.py rqworker` runs, with Django set up."""

from django.contrib.contenttypes.models import ContentType


def on_order(data):
    # Models are at hand in a job, as in a view.
    print(f"{data['shop']} sold {data['order']} ({ContentType._meta.label})", flush=True)
