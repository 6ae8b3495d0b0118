"""The line of those who wait to be answered: who is next, who is told which place, and who does not get in."""

import asyncio
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import fastapi
import gradio as gr
from gradio.data_classes import PredictBodyInternal
from gradio.queueing import Event, EventQueue, Queue
from gradio.route_utils import get_fn
from gradio.server_messages import EstimationMessage, ProcessCompletedMessage
from gradio.utils import error_payload

from models.access import OWNER, Viewer
from models.turns import SHARE
from ui.visitors import name_visitor

MAX_UNDER_WAY = 12
"""Of one visitor at a time; a page has one or two. Who else comes is begun beside them."""
MAX_OF_ONE = 64
"""That one visitor may have waiting."""
MAX_OF_PLACE = 0.5
"""Of the line, for the visitors of one place together."""
BUSY = "This page is busy: {} wait, and you would be number {}. Try again in a minute."
BUSY_WITH_YOURS = "This page is busy with what you have asked before, {} requests; wait until some are answered."


class Line(Queue):
    """Gradio's queue, but in the order of visitors: nobody's second request is begun before another's first.

    Whoever waits is told once a second which place that is. One request too many is answered like any other, so that
    pages, ``gradio_client`` and curl all show the sentence; of gradio's own answer each makes something else.

    Args:
        queue: As ``Blocks.queue`` has set it up.
        count_begun: How many wait that have been begun: for their turn to compute.
    """

    def __init__(self, queue: Queue, count_begun: Callable[[], int] = int):
        limit = queue.default_concurrency_limit
        super().__init__(False, queue.max_thread_count, 1, queue.max_size, queue.blocks, limit)
        self._count_begun = count_begun

    async def push(
        self, body: PredictBodyInternal, request: fastapi.Request, username: str | None
    ) -> tuple[bool, Any, Any]:
        """Lets a request join the line, or answers why not."""
        sentence = self._find_refusal(request, body.session_hash or "")
        if sentence is None or body.fn_index is None:
            return await super().push(body, request, username)
        event = Event(body.session_hash, get_fn(self.blocks, None, body), request, username)
        async with self.pending_message_lock:
            if event.session_hash not in self.pending_messages_per_session:
                self.pending_messages_per_session[event.session_hash] = asyncio.Queue()
            self.pending_event_ids_session.setdefault(event.session_hash, set()).add(event._id)
        error = error_payload(gr.Error(sentence, print_exception=False), show_error=True)
        self.send_message(event, ProcessCompletedMessage(output=error, success=False))
        return True, event._id, "success"

    def get_events(self) -> tuple[list[Event], bool, str] | None:
        """Takes out of the line whose turn it is to be begun."""
        if not any(queue.queue and _has_room(queue) for queue in self.event_queue_per_concurrency_id.values()):
            return None
        for place, event in self.list_waiting():
            queue = self.event_queue_per_concurrency_id[event.concurrency_id]
            if place < MAX_UNDER_WAY and _has_room(queue):
                queue.queue.remove(event)
                return [event], event.fn.batch, event.concurrency_id
        return None

    def list_waiting(self) -> list[tuple[int, Event]]:
        """Those that have not been begun, the next one first, each with how many of its visitor's go before it."""
        before = Counter(map(_find_visitor, self._list_under_way()))
        waiting = []
        events = [event for queue in self.event_queue_per_concurrency_id.values() for event in queue.queue]
        for event in sorted(events, key=lambda event: event.enqueue_time):
            visitor = _find_visitor(event)
            waiting.append((before[visitor], event))
            before[visitor] += 1
        waiting.sort(key=lambda each: each[0])
        crowd = Counter(map(_find_place, self._list_under_way()))
        ranks = []  # whoever comes after so many of their own place comes after as many others
        for _, event in waiting:
            place = _find_place(event)
            ranks.append(crowd[place] // SHARE)
            crowd[place] += 1
        order = sorted(zip(ranks, waiting, strict=True), key=lambda each: (each[0], each[1][0]))
        return [each for _, each in order]

    async def notify_clients(self) -> None:
        """Tells everybody who waits their place, once a second."""
        while not self.stopped:
            await asyncio.sleep(self.update_intervals)
            begun, waiting = self._count_begun(), self.list_waiting()
            for place, (_, event) in enumerate(waiting, begun):
                self.send_message(event, EstimationMessage(rank=place, queue_size=begun + len(waiting)))

    def broadcast_estimations(self, concurrency_id: str, after: int | None = None) -> None:
        """Nothing: gradio would tell all of them with each request that comes or begins."""

    def _list_under_way(self) -> Iterator[Event]:
        return (event for events in self.active_jobs for event in events or ())

    def _find_refusal(self, request: fastapi.Request, session: str) -> str | None:
        """Why a request does not get in."""
        who, num_waiting = _find_viewer(request), len(self)
        if self.max_size is not None and num_waiting >= self.max_size:
            place = self._count_begun() + num_waiting
            return BUSY.format(place, place + 1)
        if self.max_size is not None and who.place and num_waiting >= self.max_size * MAX_OF_PLACE:
            same = sum(_find_place(event) == who.place for _, event in self.list_waiting())
            if same >= self.max_size * MAX_OF_PLACE:
                return BUSY.format(same, same + 1)
        if not who.is_owner and num_waiting >= MAX_OF_ONE:
            visitor = name_visitor(who, session)
            own = sum(_find_visitor(event) == visitor for _, event in self.list_waiting())
            return BUSY_WITH_YOURS.format(own) if own >= MAX_OF_ONE else None
        return None


def _has_room(queue: EventQueue) -> bool:
    return queue.concurrency_limit is None or queue.current_concurrency < queue.concurrency_limit


def _find_viewer(request: fastapi.Request) -> Viewer:
    who: Viewer = request.scope.get("viewer", OWNER)
    return who


def _find_place(event: Event) -> str:
    return _find_viewer(event.request).place


def _find_visitor(event: Event) -> str:
    return name_visitor(_find_viewer(event.request), event.session_hash)
