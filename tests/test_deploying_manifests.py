"""compose.yaml and the Kubernetes manifests: what they say is valid, agrees, and works as plain processes."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import redis
from rq import Queue

from trafficrelay.cli import main
from trafficrelay.standalone.valkey import find_binary

from .deploying_support import DEPLOY, PUSH, SECRET, answers, push_headers, running, shop
from .standalone_support import free_port_number, post
from .waiting import wait_until

yaml = pytest.importorskip("yaml", reason="needs PyYAML, which reads the manifests")

pytestmark = pytest.mark.rq

KUBERNETES = ["relay.yaml", "worker.yaml", "keda.yaml"]


def compose() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((DEPLOY / "compose.yaml").read_text("utf-8"))
    return found


def manifests() -> dict[tuple[str, str], dict[str, Any]]:
    """Read all manifests, by kind and name."""
    texts = ((DEPLOY / "kubernetes" / name).read_text("utf-8") for name in KUBERNETES)
    return {(one["kind"], one["metadata"]["name"]): one for text in texts for one in yaml.safe_load_all(text)}


def pod(kind: str, name: str) -> dict[str, Any]:
    found: dict[str, Any] = manifests()[kind, name]["spec"]["template"]["spec"]
    return found


def duration(text: str) -> int:
    return int(text.removesuffix("s"))


def image_command() -> list[str]:
    """The words of the Dockerfile's CMD."""
    found: list[str] = yaml.safe_load(re.findall(r"^CMD (.*)$", (DEPLOY / "Dockerfile").read_text("utf-8"), re.M)[0])
    return found


def stop_timeout() -> int:
    words = image_command()
    return int(words[words.index("--stop-timeout") + 1])


def test_check_finds_no_fault_in_the_valkey_of_the_compose_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shop(tmp_path)
    words = shlex.split(compose()["services"]["valkey"]["command"])
    assert words[0] == "valkey-server"
    command = [str(find_binary()), *words[1:], "--port", "0", "--unixsocket", "v.sock"]
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("GITHUB_SECRET", SECRET)
    monkeypatch.setenv("SHOP_SPOOL", "spool.db")
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    try:
        wait_until(Path("v.sock").exists)
        code = main(["check", "shop.hooks:relay", "--redis", f"unix://{tmp_path / 'v.sock'}"])
    finally:
        server.terminate()
        server.wait(20)
        for name in [name for name in sys.modules if name.split(".")[0] == "shop"]:
            del sys.modules[name]

    assert code == 0
    assert "fault" not in capsys.readouterr().out


def test_the_healthcheck_of_the_compose_file_tells_a_relay_that_runs_from_none(tmp_path: Path, redis_url: str) -> None:
    shop(tmp_path)
    port, log = free_port_number(), tmp_path / "relay.log"
    kind, *words = compose()["services"]["relay"]["healthcheck"]["test"]
    probe = [sys.executable, *(word.replace(":8080/", f":{port}/") for word in words[1:])]
    before = subprocess.run(probe, check=False, capture_output=True, timeout=30).returncode
    with running(
        f"exec trafficrelay run shop.hooks:relay --port {port}",
        tmp_path,
        "relay.log",
        TRAFFICRELAY_REDIS_URL=redis_url,
    ) as relay:
        wait_until(lambda: answers(port, relay, log), 20)
        now = subprocess.run(probe, check=False, capture_output=True, timeout=30).returncode

    assert (kind, words[0], before, now) == ("CMD", "python", 1, 0)


def test_containers_are_given_longer_to_stop_than_their_commands_take() -> None:
    services = compose()["services"]
    relay, worker = pod("StatefulSet", "relay"), pod("Deployment", "worker")
    pause = relay["containers"][0]["lifecycle"]["preStop"]["sleep"]["seconds"]

    assert duration(services["relay"]["stop_grace_period"]) >= stop_timeout() + 5
    assert relay["terminationGracePeriodSeconds"] >= pause + stop_timeout() + 5
    assert duration(services["worker"]["stop_grace_period"]) > Queue.DEFAULT_TIMEOUT
    assert worker["terminationGracePeriodSeconds"] > Queue.DEFAULT_TIMEOUT


def test_the_compose_files_workers_command_runs_what_its_relay_takes(tmp_path: Path, redis_url: str) -> None:
    shop(tmp_path)
    port, log = free_port_number(), tmp_path / "relay.log"
    worker = "exec " + shlex.join(compose()["services"]["worker"]["command"])
    env = {"TRAFFICRELAY_REDIS_URL": redis_url}
    spool = str(tmp_path / "nowhere" / "spool.db")  # the volume is the relay's alone
    with running(f"exec trafficrelay run shop.hooks:relay --port {port}", tmp_path, "relay.log", **env) as relay:
        wait_until(lambda: answers(port, relay, log), 20)
        assert post(port, "/github", PUSH, push_headers())[0] == 202
        with running(worker, tmp_path, "worker.log", SHOP_SPOOL=spool, **env):
            wait_until(lambda: "ada/engine: 2 commits" in (tmp_path / "worker.log").read_text(), 20)


def test_everything_that_the_compose_files_services_mount_is_declared() -> None:
    found = compose()
    named = {volume.split(":")[0] for service in found["services"].values() for volume in service.get("volumes", ())}

    assert named == set(found["volumes"])


@pytest.mark.parametrize("name", ["relay.yaml", "worker.yaml"])
def test_kubernetes_own_schemas_take_the_manifests(name: str) -> None:
    validator = pytest.importorskip("kubernetes_validate", reason="needs kubernetes-validate, which has the schemas")

    for manifest in yaml.safe_load_all((DEPLOY / "kubernetes" / name).read_text("utf-8")):
        # It raises at what it does not take.
        validator.validate(manifest, validator.latest_version(), strict=True)


def test_the_probes_ask_for_what_a_relay_answers(tmp_path: Path, redis_url: str) -> None:
    shop(tmp_path)
    container = pod("StatefulSet", "relay")["containers"][0]
    paths = {container[f"{kind}Probe"]["httpGet"]["path"] for kind in ("startup", "liveness", "readiness")}
    port, log = free_port_number(), tmp_path / "relay.log"
    with running(
        f"exec trafficrelay run shop.hooks:relay --port {port}", tmp_path, "relay.log", TRAFFICRELAY_REDIS_URL=redis_url
    ) as relay:
        wait_until(lambda: all(answers(port, relay, log, path) for path in paths), 20)

    assert paths == {"/-/health", "/-/ready"}


def test_a_relay_that_cannot_take_events_is_alive_and_not_ready(tmp_path: Path) -> None:
    """So a Redis that is away takes no pod down, and without a spool no traffic comes."""
    shop(tmp_path)
    port, log = free_port_number(), tmp_path / "relay.log"
    away = f"redis://127.0.0.1:{free_port_number()}/0"
    with running(
        f"exec trafficrelay run shop.hooks:relay --port {port}", tmp_path, "relay.log", TRAFFICRELAY_REDIS_URL=away
    ) as relay:
        wait_until(lambda: answers(port, relay, log), 20)

        assert not answers(port, relay, log, "/-/ready")


def test_keda_looks_at_the_list_that_events_make_longer(tmp_path: Path, redis_url: str, client: redis.Redis) -> None:
    shop(tmp_path)
    (trigger,) = manifests()["ScaledObject", "worker"]["spec"]["triggers"]
    port, log = free_port_number(), tmp_path / "relay.log"
    with running(
        f"exec trafficrelay run shop.hooks:relay --port {port}", tmp_path, "relay.log", TRAFFICRELAY_REDIS_URL=redis_url
    ) as relay:
        wait_until(lambda: answers(port, relay, log), 20)
        for number in range(3):
            assert post(port, "/github", PUSH, push_headers(str(number)))[0] == 202

    assert trigger["metadata"]["listName"] == Queue("hooks", connection=client).key
    assert client.llen(trigger["metadata"]["listName"]) == 3
    assert all(isinstance(value, str) for value in trigger["metadata"].values()), "KEDA's own schema takes nothing else"


def test_keda_scales_the_workers_with_the_password_that_they_use() -> None:
    found = manifests()
    scaled = found["ScaledObject", "worker"]["spec"]
    authentication = found["TriggerAuthentication", scaled["triggers"][0]["authenticationRef"]["name"]]
    (reference,) = authentication["spec"]["secretTargetRef"]
    secrets = {
        source["secretRef"]["name"]
        for kind, name in (("StatefulSet", "relay"), ("Deployment", "worker"))
        for source in pod(kind, name)["containers"][0]["envFrom"]
    }

    assert ("Deployment", scaled["scaleTargetRef"]["name"]) in found
    assert reference["parameter"] == "password"
    assert secrets == {reference["name"]}
    assert scaled["minReplicaCount"] >= 1, "retries that wait are in no list"
    assert "replicas" not in found["Deployment", "worker"]["spec"], "that is KEDA's"
