"""The line of those who wait: whose turn it is, and what those are told who wait or do not get in."""

import json
import threading
from collections import Counter
from contextlib import ExitStack
from types import SimpleNamespace

import gradio as gr
import pytest
from gradio.queueing import Event, EventQueue, Queue
from gradio_client import Client
from gradio_client.exceptions import AppError
from hypothesis import given
from hypothesis import strategies as st

from models.access import Viewer
from models.turns import SHARE
from tests.sentences import check_sentence
from tests.unit.ui.doors.test_door import API, serve, wait
from ui.doors.line import MAX_OF_ONE, MAX_UNDER_WAY, Line

THREADS = 2


def make_line(names: list[str], limit: int | None = None, role: str = "try") -> Line:
    """These visitors have come one after the other; more would be too many."""
    line = Line(Queue(True, 64, 1, len(names), None))  # type: ignore[arg-type]
    line.event_queue_per_concurrency_id["x"] = EventQueue("x", limit)
    for name in names:
        request = SimpleNamespace(scope={"viewer": Viewer(name, role)})
        event = Event(None, SimpleNamespace(concurrency_id="x", batch=False), request, None)  # type: ignore[arg-type]
        line.event_queue_per_concurrency_id["x"].queue.append(event)
    return line


def begin_all(line: Line) -> list[str]:
    """The visitors in the order in which they are begun, if nothing ends."""
    begun = []
    while found := line.get_events():
        (event,), _, name = found
        line.active_jobs.append([event])
        line.event_queue_per_concurrency_id[name].current_concurrency += 1
        begun.append(event.request.scope["viewer"].name)
    return begun


@given(st.lists(st.sampled_from("aaaaaaabc"), min_size=1, max_size=40))
def test_nobody_s_next_is_begun_before_another_s_first_and_nobody_has_too_many_under_way(names):
    begun = begin_all(make_line(names))
    assert Counter(begun) == {name: min(number, MAX_UNDER_WAY) for name, number in Counter(names).items()}
    for place, name in enumerate(begun):
        before, later = Counter(begun[:place]), {*begun[place:]}
        assert all(before[name] <= before[other] for other in later)
    assert list(dict.fromkeys(begun)) == list(dict.fromkeys(names))  # who came first comes first


def test_programs_without_a_cookie_are_one_for_visitors_and_many_for_owners_and_a_handler_may_have_a_limit():
    assert len(begin_all(make_line([""] * 20))) == MAX_UNDER_WAY
    assert len(begin_all(make_line([""] * 20, role="owner"))) == 20
    assert len(begin_all(make_line([""] * 20, limit=3, role="owner"))) == 3


def test_one_visitor_cannot_fill_the_line():
    line = make_line(["ada"] * MAX_OF_ONE + ["bob"])
    line.max_size = 1000

    def refuse(name: str, role: str = "try") -> str | None:
        return line._find_refusal(SimpleNamespace(scope={"viewer": Viewer(name, role)}), "")  # type: ignore[arg-type]

    assert refuse("bob") is None and refuse("ada", "owner") is None
    check_sentence(refuse("ada") or "", MAX_OF_ONE)


def test_many_names_at_one_place_leave_others_their_share_of_the_line():
    line = make_line([f"eve{number}" for number in range(40)] + ["bob", "bob"])
    line.max_size = 60
    for event in line.event_queue_per_concurrency_id["x"].queue:
        who = event.request.scope["viewer"]
        event.request.scope["viewer"] = Viewer(who.name, "try", "2.2.2.2" if who.name == "bob" else "1.1.1.1")

    def refuse(address: str) -> str | None:
        return line._find_refusal(SimpleNamespace(scope={"viewer": Viewer("new", "try", address)}), "")  # type: ignore[arg-type]

    assert refuse("2.2.2.2") is refuse("127.0.0.1") is None
    check_sentence(refuse("1.1.1.1") or "", 40)
    assert begin_all(line)[: SHARE + 2] == [*(f"eve{number}" for number in range(SHARE)), "bob", "bob"]


def test_who_waits_is_told_the_place_and_one_too_many_is_told_so_page_and_programs_alike():
    go, listening = threading.Event(), []
    with gr.Blocks() as page:

        def work(number: float) -> float:
            go.wait(20)
            return number

        gr.api(work, api_name="work")
    with serve(page, max_size=3, max_threads=THREADS) as client, ExitStack() as stack:
        stack.callback(go.set)

        def join(session: str) -> None:
            sent = {"data": [1], "session_hash": session, "fn_index": 0}
            assert client.post(f"{API}/queue/join", json=sent).status_code == 200

        def listen(session: str, until: str) -> dict:
            """Until this is said, and then keeps the line open: whoever stops listening gives up the place."""
            stream = client.stream("GET", f"{API}/queue/data", params={"session_hash": session})
            listening.append(lines := stack.enter_context(stream).iter_lines())
            for line in lines:
                if line.startswith("data: ") and (said := json.loads(line[6:]))["msg"] == until:
                    return said
            raise AssertionError(until)

        for number in range(THREADS):
            join(f"under way {number}")
        wait(lambda: page._queue.get_active_worker_count() == THREADS)
        for number in range(3):
            join(f"waiting {number}")
        told = listen("waiting 2", "estimation")
        assert (told["rank"], told["queue_size"]) == (2, 3)
        join("one too many")
        end = listen("one too many", "process_completed")
        assert end["success"] is False
        check_sentence(end["output"]["error"], 3, 4)
        event = client.post(f"{API}/call/work", json={"data": [1]}).json()["event_id"]
        answer = client.get(f"{API}/call/work/{event}").text
        assert answer.startswith("event: error") and end["output"]["error"] in answer
        with pytest.raises(AppError) as caught:
            Client(str(client.base_url), verbose=False).predict(1, api_name="/work")
        assert end["output"]["error"] in str(caught.value)
        go.set()
        assert listen("waiting 1", "process_completed")["success"]
