"""Endpoint tests share one server."""

import pytest
from gradio_client import Client

from tests.server import Server, run_server


@pytest.fixture(scope="session")
def server(tmp_path_factory) -> Server:
    with run_server(tmp_path_factory.mktemp("app")) as running:
        yield running


@pytest.fixture(scope="session")
def client(server) -> Client:
    return Client(server.url, verbose=False)
