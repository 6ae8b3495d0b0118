"""The guard before gradio, around an application that does as it is told."""

import logging

import pytest
from starlette.requests import Request
from starlette.responses import JSONResponse

from tests.asynchronous import run_alone
from ui.requests import MAX_BODY_BYTES, PATIENCE_BYTES, TOO_LARGE, UNANSWERABLE, UPLOAD_PATH, RequestGuard


async def length(scope, receive, send) -> None:
    """Answers how long the body is."""
    body = await Request(scope, receive).body()
    await JSONResponse(len(body))(scope, receive, send)


def exchange(app, parts: list[bytes], path: str = "/x") -> tuple[list[dict], int]:
    """The messages that a request with these parts of a body is answered with, and how many parts were read."""
    sent, taken = [], []

    async def receive():
        if len(taken) == len(parts):
            return {"type": "http.disconnect"}
        taken.append(parts[len(taken)])
        return {"type": "http.request", "body": taken[-1], "more_body": len(taken) < len(parts)}

    async def send(message):
        sent.append(message)

    scope = {"type": "http", "method": "POST", "path": path, "headers": []}
    run_alone(RequestGuard(app)(scope, receive, send))
    return sent, len(taken)


HALF = b"x" * (MAX_BODY_BYTES // 2)


@pytest.mark.parametrize("parts", [[b""], [b"abc"], [HALF, HALF], [HALF, HALF[:-1], b"x"]])
def test_a_body_of_at_most_the_limit_comes_through(parts):
    sent, _ = exchange(length, parts)
    assert (sent[0]["status"], int(sent[1]["body"])) == (200, sum(map(len, parts)))


@pytest.mark.parametrize("parts", [[HALF, HALF, b"x"], [HALF * 3], [HALF] * 20])
def test_a_longer_one_is_ended_with_a_sentence_once_the_client_has_sent_it(parts):
    sent, taken = exchange(length, parts)
    assert sent[0]["status"] == 413 and TOO_LARGE.encode() in sent[1]["body"] and len(sent) == 2
    assert taken == len(parts)


def test_one_without_an_end_is_ended_all_the_same():
    sent, taken = exchange(length, [HALF] * 1000)
    assert sent[0]["status"] == 413 and taken * len(HALF) <= MAX_BODY_BYTES + PATIENCE_BYTES + len(HALF)


def test_uploads_may_be_long():
    sent, _ = exchange(length, [HALF] * 9, UPLOAD_PATH)
    assert int(sent[1]["body"]) == 9 * len(HALF)
    assert exchange(length, [HALF] * 9, f"{UPLOAD_PATH}/x")[0][0]["status"] == 413


def test_what_a_request_makes_gradio_raise_is_one_line_of_the_log(caplog):
    async def fail(scope, receive, send):
        raise KeyError("\x1b[2J\n")

    with caplog.at_level(logging.INFO):
        sent, _ = exchange(fail, [b""], "/\x1b[31m")
    assert sent[0]["status"] == 500 and UNANSWERABLE.encode() in sent[1]["body"]
    (record,) = caplog.records
    assert "KeyError" in record.getMessage() and record.exc_info is None and record.getMessage().isprintable()


def test_an_answer_that_has_begun_is_not_begun_again():
    async def fail(scope, receive, send):
        await send({"type": "http.response.start", "status": 200, "headers": []})
        raise KeyError

    assert [message["type"] for message in exchange(fail, [b""])[0]] == ["http.response.start"]
