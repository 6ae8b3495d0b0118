"""Who listens: what is thrown away, and what is not."""

import asyncio

from gradio.queueing import Queue

from ui.doors.listeners import MAX_UNHEARD, PATIENCE_SECONDS, Listeners


def make_queue(sessions: list[str]) -> Queue:
    queue = Queue(True, 1, 1, None, None)  # type: ignore[arg-type]
    for session in sessions:
        queue.pending_messages_per_session[session] = asyncio.Queue()
        queue.pending_event_ids_session[session] = {f"{session}-event"}
    return queue


def test_of_many_unheard_the_newest_are_kept_and_those_that_have_just_asked():
    now = [0.0]
    listeners = Listeners(lambda: now[0])
    queue = make_queue([f"old-{number}" for number in range(MAX_UNHEARD + 10)])
    asyncio.run(listeners.sweep(queue))
    assert len(queue.pending_messages_per_session) == MAX_UNHEARD + 10  # each may be on the way to listen
    queue.pending_messages_per_session["new"] = asyncio.Queue()
    queue.pending_event_ids_session["new"] = {"new-event"}
    now[0] = 5
    asyncio.run(listeners.sweep(queue))
    kept = list(queue.pending_messages_per_session)
    assert len(kept) == MAX_UNHEARD and kept[-1] == "new" and set(queue.pending_event_ids_session) == {*kept}
    with listeners.listen("new"):
        now[0] += PATIENCE_SECONDS
        asyncio.run(listeners.sweep(queue))
        assert list(queue.pending_messages_per_session) == ["new"]


def test_who_has_heard_all_makes_room_for_those_that_wait():
    queue, listeners = make_queue(["heard", "waits", "unread"]), Listeners()
    queue.pending_event_ids_session["heard"] = queue.pending_event_ids_session["unread"] = set()
    queue.pending_messages_per_session["unread"].put_nowait(None)  # type: ignore[arg-type]
    asyncio.run(listeners.sweep(queue))
    assert list(queue.pending_messages_per_session) == ["waits", "unread"]
