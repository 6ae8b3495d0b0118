"""Endpoint tests share one server."""

import os

import pytest
from gradio_client import Client

from tests.server import Server, run_server


@pytest.fixture(scope="session")
def server(tmp_path_factory) -> Server:
    """With a folder in the data root as an archive from Korean Windows leaves it: its names are not UTF-8."""
    folder = tmp_path_factory.mktemp("app")
    for name in ("강아지", "고양이"):
        (folder / "data" / os.fsdecode("사진".encode("cp949")) / os.fsdecode(name.encode("cp949"))).mkdir(
            parents=True
        )
    with run_server(folder) as running:
        yield running


@pytest.fixture(scope="session")
def client(server) -> Client:
    return Client(server.url, verbose=False)
