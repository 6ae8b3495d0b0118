"""Many clients at once: everybody is answered."""

import asyncio
import sys

import pytest

from tests.server import ROOT, run_server

sys.path.insert(0, str(ROOT / "benchmarks"))  # which are files to run, not a package
from bench_load import Tally, ask_once, load

CLIENTS, SECONDS = 30, 5


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with run_server(tmp_path_factory.mktemp("load")) as running:
        yield running


def test_thirty_clients_are_answered_without_an_error(server):
    found = asyncio.run(load(server, CLIENTS, SECONDS))
    assert found["problems"] == {} and set(found["ends"]) == {"done"}
    assert found["ends"]["done"] >= CLIENTS and server.is_alive
    assert found["descriptors"]["last"] < 300


def test_a_call_that_nothing_can_come_of_is_counted_as_an_error(server):
    tally = Tally()
    asyncio.run(ask_once(server.url, "classify", tally, sample="nobody"))
    assert tally.ends == {"error": 1} and "nobody" in "".join(tally.problems)
