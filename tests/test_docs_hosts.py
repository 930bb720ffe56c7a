"""What docs/hosts.md shows runs: its programs as files, under its servers.

Each of its servers' commands is run in test_hosts_servers.py.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
import redis
from rq import Queue

from trafficrelay.verify import hmac_signature

from .hosts.running import Command, shell, user_environment
from .hosts.servers import DOCS, server_commands
from .standalone_support import get, post
from .worker_support import RELAY

SNIPPETS = re.compile(r"^```python\n# (\S+)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
BODY = b'{"order": 7}'
SIGNED = hmac_signature("change-me", header="X-Signature").sign(BODY)

pytestmark = pytest.mark.rq


def section(heading: str) -> str:
    # A snippet's first line is no heading, though it looks like one: it is a path.
    return re.split(r"\n## |\n# (?=[A-Z])", DOCS.partition(f"\n## {heading}\n")[2])[0]


def snippets(text: str) -> dict[str, str]:
    """Give the files that a text shows, by their paths."""
    return dict(SNIPPETS.findall(text))


INTRODUCTION = snippets(DOCS.partition("\n## ")[0])
SETTINGS = snippets(section("django-rq"))["shop/settings.py"]


def write(folder: Path, redis_url: str, shown: dict[str, str]) -> None:
    """Write files as their reader would, beside a job and what else Django needs."""
    files = {
        "shop/__init__.py": "",
        "shop/jobs.py": "def on_order(data):\n    return data['order']\n",
        "shop/urls.py": "urlpatterns = []\n",
        **INTRODUCTION,
        "shop/settings.py": SETTINGS,
        **shown,
    }
    files["shop/settings.py"] += "ROOT_URLCONF = 'shop.urls'\n"
    for path, text in files.items():
        target = folder / path
        target.parent.mkdir(exist_ok=True)
        target.write_text(text.replace("redis://localhost:6379/0", redis_url), "utf-8")


def serving(name: str) -> str:
    (command,) = [one.text for one in server_commands() if one.name == name]
    return command


@pytest.mark.parametrize(
    ("heading", "which", "server"),
    [
        ("Bottle", "shop/wsgi.py", "waitress-serve"),
        ("Flask", "shop/wsgi.py", "gunicorn"),
        ("Django", "shop/wsgi.py", "gunicorn-gthread"),
        ("Django", "shop/asgi.py", "uvicorn"),
        ("Pyramid", "shop/wsgi.py", "granian-wsgi"),
        ("FastAPI", "shop/asgi.py", "granian-asgi"),
        ("Starlette", "shop/asgi.py", "uvicorn"),
        ("django-rq", "shop/wsgi.py", "gunicorn"),
        ("Flask-RQ", "shop/wsgi.py", "gunicorn-gthread"),
    ],
)
def test_a_program_that_is_shown_takes_orders_in(
    heading: str, which: str, server: str, tmp_path: Path, redis_url: str, client: redis.Redis
) -> None:
    shown = snippets(section(heading))
    if which not in shown:  # django-rq's relay goes into the program of the section on Django
        shown[which] = snippets(section("Django"))[which]
    write(tmp_path, redis_url, shown)

    with Command(serving(server), tmp_path, user_environment()) as running:
        running.wait_until_up()
        status, said = post(running.port, "/relay/orders/acme", BODY, SIGNED)
        unsigned = post(running.port, "/relay/orders/acme", BODY)
        nowhere = get(running.port, "/relay/nowhere")
    (job,) = Queue("orders", connection=client).jobs

    assert (status, said["jobs"]) == (202, [job.id])
    assert job.args == ({"shop": "acme", "order": 7},)
    assert (unsigned[0], unsigned[1]["title"]) == (401, "Unauthorized")
    assert (nowhere[0], nowhere[1]["title"]) == (404, "Not Found")


def test_the_thread_that_is_shown_takes_orders_in_and_ends_with_its_program(
    tmp_path: Path, redis_url: str, client: redis.Redis
) -> None:
    program = snippets(section("A thread of any program"))["shop/program.py"].replace("port=8000", "port=0")
    write(tmp_path, redis_url, {"shop/program.py": program})
    process = subprocess.Popen(
        [sys.executable, "-u", "-m", "shop.program"],
        cwd=tmp_path,
        env=user_environment(),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with process:
        assert process.stdout is not None
        port = int(process.stdout.readline().rpartition(":")[2])
        status, _ = post(port, "/orders/acme", BODY, SIGNED)
        process.communicate("\n", timeout=30)

    assert (status, process.returncode) == (202, 0)
    assert Queue("orders", connection=client).count == 1


@pytest.mark.parametrize(
    "worker",
    [
        "django-admin rqworker --pythonpath . --settings shop.settings --burst orders",
        "django-admin rqworker --pythonpath . --settings shop.settings --burst orders --worker-class RELAY_WORKER",
        "python -m trafficrelay worker shop.wsgi:relay --burst",
    ],
    ids=["rq", "RelayWorker", "trafficrelay"],
)
def test_workers_run_jobs_that_need_django(worker: str, tmp_path: Path, redis_url: str, client: redis.Redis) -> None:
    models = "from django.contrib.contenttypes.models import ContentType\n\n\n"
    jobs = {"shop/jobs.py": f"{models}def on_order(data):\n    return [data['order'], ContentType._meta.label]\n"}
    sender = (
        "from webtest import TestApp\n"
        "from shop.wsgi import relay\n"
        f"TestApp(relay.app).post('/orders/acme', {BODY!r}, {SIGNED | {'Content-Type': 'application/json'}!r})\n"
    )
    write(tmp_path, redis_url, snippets(section("Django")) | snippets(section("django-rq")) | jobs)
    shell(f"python - <<'END'\n{sender}END", tmp_path, user_environment())
    (job,) = Queue("orders", connection=client).jobs

    with Command(worker.replace("RELAY_WORKER", RELAY), tmp_path, user_environment()) as running:
        running.process.wait(30)
        log = running.log
    job.refresh()

    assert (job.get_status(), job.return_value()) == ("finished", [7, "contenttypes.ContentType"]), log
    assert (job.timeout, job.result_ttl) == (60, 3600)


def test_the_logger_that_is_shown_has_flasks_handler() -> None:
    (text,) = snippets(section("Logging")).values()
    program = f"{text}\nlogging.getLogger('trafficrelay').warning('of the relay')"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True, text=True)

    assert re.search(r"WARNING in .*: of the relay", done.stderr)


def test_every_snippet_names_its_file_and_compiles() -> None:
    shown = re.findall(r"^```python\n(.*?)^```$", DOCS, re.DOTALL | re.MULTILINE)

    assert len(shown) == len(SNIPPETS.findall(DOCS))
    for text in shown:
        compile(text, "hosts.md", "exec")


def test_the_page_fits_a_terminal() -> None:
    assert [line for line in DOCS.splitlines() if len(line) > 120] == []


def test_each_host_has_an_example() -> None:
    examples = Path(__file__).parents[1] / "examples"
    hosts = {"bottle", "flask", "django", "pyramid", "fastapi", "thread", "standalone"}

    assert hosts <= {folder.name for folder in examples.iterdir()}
    assert all((examples / host / "README.md").is_file() for host in hosts)
