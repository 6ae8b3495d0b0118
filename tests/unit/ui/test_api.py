"""What an endpoint does before its work."""

from contextlib import contextmanager
from types import SimpleNamespace

import pytest

from analysis.errors import Progress, no_progress
from ui.api import as_endpoint


def make(may_download: bool) -> tuple[SimpleNamespace, list]:
    """Services that note which weights are fetched."""
    fetched: list[str] = []

    @contextmanager
    def act(request, bar):
        yield SimpleNamespace(report=lambda what: what)

    models = SimpleNamespace(fetch=lambda name, progress: fetched.append(name))
    return SimpleNamespace(act=act, may_download=lambda: may_download, lab=SimpleNamespace(models=models)), fetched


@pytest.mark.parametrize("may_download", [True, False])
def test_weights_are_downloaded_for_those_only_who_may(may_download):
    services, fetched = make(may_download)

    def layers(model: str = "a", *, progress: Progress = no_progress) -> list:
        return [model, progress]

    call = as_endpoint(services, layers)
    assert call("resnet18") == ["resnet18", "Computing"]
    assert fetched == (["resnet18"] if may_download else [])
    assert list(call.__annotations__) == ["model", "return"]  # what clients see
