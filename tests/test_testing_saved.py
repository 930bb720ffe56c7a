"""Requests that are saved, read and sent again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.support import make_event
from trafficrelay import Relay, Route
from trafficrelay.errors import ClientError
from trafficrelay.testing import RelayClient, SavedRequest, relay_client, saved_requests
from trafficrelay.verify import github

RAW = b'POST /x?a=1 HTTP/1.1\nHost: shop.example\nContent-Type: application/json\nX-Kind: push\n\n{"n": 1}'


def make_client(**options: Any) -> RelayClient:
    relay = Relay()
    relay.add(Route(options.pop("rule", "/x"), **({"verify": None, "job": "tests.jobs.echo"} | options)))
    return relay_client(relay)


def test_a_file_is_sent_as_it_stands(tmp_path: Path) -> None:
    file = tmp_path / "push.http"
    file.write_bytes(RAW)
    client = make_client(transform=lambda event: [event.headers["x-kind"], event.query, event.data])

    assert client.send(file).data == ["push", {"a": "1"}, {"n": 1}]
    assert client.send(str(file)).data == client.send(RAW).data == client.send(SavedRequest.read(file)).data


def test_what_a_file_says_goes_before_what_all_requests_have() -> None:
    client = relay_client(
        make_client(transform=lambda event: event.headers["x-kind"]).relay, headers={"x-kind": "ping"}
    )

    assert client.send(RAW).data == "push"
    assert client.send(RAW, headers={"X-KIND": "pong"}).data == "pong"


def test_lines_may_end_as_https_do() -> None:
    assert make_client().send(RAW.replace(b"\n", b"\r\n")).data == {"n": 1}


def test_a_line_break_that_an_editor_put_at_the_end_is_no_part_of_the_body() -> None:
    raw = RAW.replace(b"\n\n", b"\nContent-Length: 8\n\n") + b"\n"

    assert make_client(transform=lambda event: len(event.body)).send(raw).data == 8


def test_a_body_in_chunks_is_put_together() -> None:
    raw = RAW.replace(b'\n\n{"n": 1}', b'\nTransfer-Encoding: chunked\n\n3\r\n{"n\r\n5\r\n": 1}\r\n0\r\n\r\n')

    assert make_client().send(raw).data == {"n": 1}


def test_a_saved_request_is_signed_anew(tmp_path: Path) -> None:
    client = make_client(verify=github("secret"))
    file = client.post_json("/x", {"n": 1}, signed="wrong").request.save(tmp_path / "push.http")

    assert client.send(file).unverified
    assert client.send(file, signed=True).data == {"n": 1}


def test_what_was_sent_is_saved_and_read_again(tmp_path: Path) -> None:
    client = make_client(rule="/hooks/<shop>", verify=github("secret"), methods=["PUT"])
    answer = client.request("PUT", "/hooks/Zoë?a=1&a=2", b"\x00\xff", signed=True, content_type="image/x")
    read = SavedRequest.read(answer.request.save(tmp_path / "put.http"))

    assert (read.method, read.target, read.body) == (answer.request.method, answer.request.target, b"\x00\xff")
    assert read.name == str(read) == "put.http"
    assert client.send(read).status == 202


def test_an_event_is_saved_without_credentials() -> None:
    event = make_event(
        headers={"X-Hub-Signature-256": "s", "Authorization": "Bearer s", "X-Own": "s", "X-Kind": "push"},
        query={"a": ["1", "2"]},
        params={"shop": "Zoë/1"},
    )
    saved = SavedRequest.of(event, without=["x-own"])

    assert saved.target == "/hooks/Zo%C3%AB/1?a=1&a=2"
    assert saved.to_bytes() == (
        b'POST /hooks/Zo%C3%AB/1?a=1&a=2 HTTP/1.1\r\nx-kind: push\r\nContent-Length: 12\r\n\r\n{"order": 1}'
    )


def test_a_folder_gives_its_requests_by_name(tmp_path: Path) -> None:
    for name in ("b.http", "a.http", "notes.txt"):
        (tmp_path / name).write_bytes(RAW)

    assert [str(saved) for saved in saved_requests(tmp_path)] == ["a.http", "b.http"]


def test_a_folder_without_requests_is_an_error(tmp_path: Path) -> None:
    """pytest would skip a test that is parametrised with nothing."""
    with pytest.raises(ClientError, match="no file there ends in"):
        saved_requests(tmp_path)


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        (b"", "its first line is not like"),
        (b'{"n": 1}', "its first line is not like"),
        (b"POST /x HTTP/1.1\nnonsense\n\n", "Line 2 of the saved request is no header"),
        (b"POST /x HTTP/1.1\nContent-Length: 9\n\nshort", "5 bytes of a body, and its Content-Length says 9"),
    ],
)
def test_what_is_no_request_is_told(raw: bytes, said: str) -> None:
    with pytest.raises(ClientError, match=said):
        make_client().send(raw)


def test_a_file_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(ClientError, match=r"none.http cannot be read: No such file"):
        make_client().send(tmp_path / "none.http")
    with pytest.raises(ClientError, match="cannot be saved as"):
        SavedRequest.parse(RAW).save(tmp_path / "no" / "folder.http")
    with pytest.raises(ClientError, match="send takes a file"):
        make_client().send(7)  # type: ignore[arg-type]


def test_nothing_can_be_sent_again_before_it_was_sent() -> None:
    with pytest.raises(ClientError, match="Nothing was sent yet"):
        make_client().send_again()


def test_it_is_not_shown_with_its_payload() -> None:
    assert "push" not in repr(SavedRequest.parse(RAW))
