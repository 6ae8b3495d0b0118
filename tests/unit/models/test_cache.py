"""The store of loaded models: loaded once, lent to whoever has the turn, bounded in bytes."""

import contextlib
import gc
import os
import threading
import time
import weakref
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from analysis.errors import Cancelled, UserError
from models.access import Viewer, acting, viewer
from models.cache import ModelCache, NotHere
from models.data.preprocessing import Preprocessing
from models.registry import Registry
from models.weights import WeightsFile
from models.zoo.spec import ModelSpec
from tests.sentences import refused

TIMEOUT = 10
NUM_BYTES = 1000  # of each model below


class Shelf:
    """A registry of equally large models that counts how often each is built."""

    def __init__(self):
        self.num_built = Counter()
        self.problems: list[Exception] = []  # one is raised by each of the next builds
        self.weights: WeightsFile | None = None
        self.second_builder: threading.Barrier | None = None

    def get(self, name: str) -> ModelSpec:
        if len(name) != 1:
            raise UserError(f"There is no model called {name}.")
        return ModelSpec(
            name=name,
            source="test",
            num_params=0,
            categories=("a", "b"),
            preprocessing=Preprocessing(crop_size=4, resize_size=4),
            build=lambda: self._build(name),
            trained_on="nothing",
            weights=self.weights,
        )

    def _build(self, name: str) -> nn.Module:
        self.num_built[name] += 1
        if self.second_builder is not None:  # time for another thread to get here
            with contextlib.suppress(threading.BrokenBarrierError):
                self.second_builder.wait(0.2)
        if self.problems:
            raise self.problems.pop()
        module = nn.Module()
        module.register_parameter("weight", nn.Parameter(torch.zeros(NUM_BYTES // 4 - 25)))
        module.register_buffer("buffer", torch.zeros(25))  # buffers count too
        return module.eval()


@pytest.fixture
def shelf():
    return Shelf()


@pytest.fixture
def cache(shelf):
    return ModelCache(shelf, device="cpu", max_bytes=5 * NUM_BYTES // 2)


def use(cache, *names) -> None:
    for name in names:
        with cache.use(name):
            pass


@pytest.mark.parametrize("num_threads", [2, 8])
def test_first_use_by_many_threads_builds_once(cache, shelf, num_threads):
    shelf.second_builder = threading.Barrier(2)
    start = threading.Barrier(num_threads, timeout=TIMEOUT)

    def first_use(_):
        start.wait()
        with cache.use("a") as loaded:
            return loaded.module

    with ThreadPoolExecutor(num_threads) as pool:
        modules = list(pool.map(first_use, range(num_threads)))
    assert shelf.num_built == {"a": 1}
    assert len({module.weight.data_ptr() for module in modules}) == 1


@pytest.mark.parametrize("problem", [UserError("no connection"), RuntimeError("bug"), KeyboardInterrupt()])
def test_after_a_failure_the_next_call_tries_again(cache, shelf, problem):
    shelf.problems.append(problem)
    with pytest.raises(type(problem)), cache.use("a"):
        pytest.fail("there is nothing to lend")
    assert cache.loaded_names() == []
    use(cache, "a")
    assert cache.loaded_names() == ["a"] and shelf.num_built == {"a": 2}
    use(cache, "b", "c")
    assert cache.loaded_names() == ["b", "c"]  # the failure does not count as a user


def test_waiting_threads_survive_the_failure_of_the_first(cache, shelf):
    shelf.problems.append(UserError("no connection"))
    start = threading.Barrier(4, timeout=TIMEOUT)

    def first_use(_):
        start.wait()
        try:
            with cache.use("a") as loaded:
                return loaded.module
        except UserError:
            return None

    with ThreadPoolExecutor(4) as pool:
        modules = list(pool.map(first_use, range(4)))
    assert modules.count(None) == 1 and shelf.num_built == {"a": 2}


@pytest.mark.parametrize("name", ["a", "b"])
def test_one_thread_at_a_time_uses_models(cache, name):
    entered = threading.Event()

    def borrow():
        with cache.use(name):
            entered.set()

    with cache.use("a"):
        thread = threading.Thread(target=borrow, daemon=True)
        thread.start()
        assert not entered.wait(0.2)
    assert entered.wait(TIMEOUT)
    thread.join(TIMEOUT)


def in_turn(cache, works):
    """What works give that all begin to wait, in this order, before the first has its turn."""
    with ThreadPoolExecutor(len(works)) as pool:
        with cache.turns.take():
            waiting = []
            for work in works:
                waiting.append(pool.submit(work))
                while cache.turns.num_waiting < len(waiting):
                    assert not waiting[-1].done()
                    time.sleep(0.001)  # it loads a model, and would wait for this thread
        return [each.result(TIMEOUT) for each in waiting]


@pytest.fixture
def tiny(tmp_path, make_run):
    """A cache with a tiny trained network, and that network."""
    return ModelCache(Registry(tmp_path), device="cpu"), make_run(tmp_path)


def test_what_an_analysis_does_to_its_module_is_nobody_elses_while_it_gives_way(tiny):
    cache, model = tiny
    x, seen = torch.rand(2, 1, 8, 8), []

    def analyse():
        with cache.use("run/tiny") as mine:
            first = next(iter(mine.module.modules()))
            first.register_forward_hook(lambda module, inputs, output: seen.append("hook") or 2 * output)
            mine.module.requires_grad_(False)
            cache.turns.give_way()
            return mine.module(x)

    doubled, (logits, _) = in_turn(cache, [analyse, lambda: cache.compute("run/tiny", x)])
    with torch.inference_mode():
        torch.testing.assert_close(logits, model(x))
    assert seen == ["hook"] and not torch.equal(doubled, logits)


@pytest.mark.parametrize("num", [1, 2, 5])
def test_what_waits_together_is_computed_together_and_equals_what_is_computed_alone(tiny, num):
    cache, model = tiny
    generator = torch.Generator().manual_seed(num)
    batches = [torch.rand(1 + n % 3, 1, 8, 8, generator=generator) for n in range(num)]
    sizes = []

    def watched(module):
        return lambda inputs: sizes.append(len(inputs)) or module(inputs)

    found = in_turn(cache, [lambda each=each: cache.compute("run/tiny", each, watched) for each in batches])
    assert sizes == [sum(map(len, batches))]
    with torch.inference_mode():
        for (logits, seconds), inputs in zip(found, batches, strict=True):
            torch.testing.assert_close(logits, model(inputs), rtol=1e-6, atol=1e-6)
            assert seconds > 0


def test_each_visitor_s_share_of_a_batch_is_counted_for_them(tiny):
    cache, _ = tiny
    counted = {}
    cache.turns.count = lambda seconds: counted.update({viewer().name: counted.get(viewer().name, 0.0) + seconds})

    def ask(name: str, number: int) -> tuple:
        with acting(Viewer(name)):
            return cache.compute("run/tiny", torch.rand(number, 1, 8, 8))

    found = in_turn(cache, [partial(ask, "ada", 1), partial(ask, "bob", 3), partial(ask, "cy", 1)])
    each = found[0][1]
    assert [seconds for _, seconds in found] == [each] * 3  # one batch
    assert counted["bob"] == pytest.approx(3 * each) and counted["cy"] == pytest.approx(each)
    assert counted["ada"] >= each * 0.99


def test_others_are_asked_otherwise_and_too_many_pictures_wait_for_the_next_turn(tiny, monkeypatch):
    cache, model = tiny
    monkeypatch.setattr("models.cache.MAX_PIXELS", 3 * 64)
    x, sizes = torch.rand(2, 1, 8, 8), []

    def watched(module):
        return lambda inputs: sizes.append(len(inputs)) or module(inputs)

    def doubled(module):
        return lambda inputs: 2 * module(inputs)

    works = [lambda: cache.compute("run/tiny", x, watched), lambda: cache.compute("run/tiny", x, doubled)]
    first, twice, second, one = in_turn(cache, [*works, works[0], lambda: cache.compute("run/tiny", x[:1], watched)])
    assert sorted(sizes) == [2, 3]
    with torch.inference_mode():
        for (logits, _), expected in (
            (first, model(x)),
            (twice, 2 * model(x)),
            (second, model(x)),
            (one, model(x[:1])),
        ):
            torch.testing.assert_close(logits, expected, rtol=1e-6, atol=1e-6)


def test_one_whose_pictures_do_not_work_fails_alone(tiny):
    cache, model = tiny
    x, broken = torch.rand(1, 1, 8, 8), torch.full((1, 1, 8, 8), torch.nan)

    def careful(module):
        def compute(inputs):
            if inputs.isnan().any():
                raise RuntimeError("not a number")
            return module(inputs)

        return compute

    def attempt(inputs):
        try:
            return cache.compute("run/tiny", inputs, careful)[0]
        except RuntimeError as error:
            return str(error)

    found = in_turn(cache, [lambda each=each: attempt(each) for each in (x, broken, x)])
    assert found[1] == "not a number"
    with torch.inference_mode():
        for logits in (found[0], found[2]):
            torch.testing.assert_close(logits, model(x), rtol=1e-6, atol=1e-6)


def test_one_thread_may_borrow_a_model_twice(cache, shelf):
    with cache.use("a") as outer, cache.use("a") as inner:
        assert inner is outer
    assert shelf.num_built == {"a": 1}


def test_an_error_in_the_block_returns_the_model(cache):
    with pytest.raises(ZeroDivisionError), cache.use("a"):
        raise ZeroDivisionError
    with ThreadPoolExecutor(1) as pool:
        pool.submit(use, cache, "a").result(TIMEOUT)
    use(cache, "b", "c")
    assert cache.loaded_names() == ["b", "c"]


@pytest.mark.parametrize(
    ("uses", "kept"),
    [("ab", "ab"), ("ba", "ba"), ("abc", "bc"), ("abac", "ac"), ("abcabc", "bc"), ("abbabacd", "cd")],
)
def test_the_least_recently_used_model_goes_first(cache, uses, kept):
    use(cache, *uses)
    assert cache.loaded_names() == list(kept)


def test_an_evicted_model_frees_its_memory_and_comes_back(cache, shelf):
    with cache.use("a") as loaded:
        module = weakref.ref(loaded.module)
    del loaded
    use(cache, "b", "c")
    gc.collect()
    assert module() is None
    use(cache, "a")
    assert shelf.num_built == {"a": 2, "b": 1, "c": 1}


def test_a_model_in_use_is_never_evicted(cache, shelf):
    with cache.use("a") as loaded:
        use(cache, "b", "c", "d")
        assert cache.loaded_names() == ["a", "d"]
        with cache.use("a") as again:
            assert again is loaded
    use(cache, "e", "f")
    assert "a" not in cache.loaded_names()
    assert shelf.num_built["a"] == 1


def test_a_model_larger_than_the_budget_still_works(shelf):
    cache = ModelCache(shelf, device="cpu", max_bytes=NUM_BYTES - 1)
    use(cache, "a", "a")
    assert shelf.num_built == {"a": 1}
    use(cache, "b")
    assert cache.loaded_names() == ["b"]


@pytest.mark.parametrize(("max_bytes", "kept"), [(2 * NUM_BYTES, ["a", "b"]), (2 * NUM_BYTES - 1, ["b"])])
def test_the_budget_counts_every_byte(shelf, max_bytes, kept):
    cache = ModelCache(shelf, device="cpu", max_bytes=max_bytes)
    use(cache, "a", "b")
    assert cache.loaded_names() == kept


def test_unknown_names_leave_nothing_behind(cache):
    with refused("none"), cache.use("none"):
        pytest.fail("there is nothing to lend")
    assert cache.loaded_names() == []


def test_weights_are_downloaded_before_the_model_is_built(cache, shelf, tmp_path, torch_home):
    (tmp_path / "net.pth").write_bytes(b"weights")
    shelf.weights = WeightsFile((tmp_path / "net.pth").as_uri(), 7)
    calls = []
    with cache.use("a", lambda *numbers: calls.append(numbers)) as loaded:
        assert loaded.spec.is_cached
    assert calls == [(7, 7)]
    shelf.weights = WeightsFile((tmp_path / "gone.pth").as_uri(), 7)
    with refused():
        use(cache, "b")
    assert shelf.num_built == {"a": 1}


def test_a_cache_that_asks_first_downloads_only_what_is_fetched(cache, shelf, tmp_path, torch_home):
    (tmp_path / "net.pth").write_bytes(b"weights")
    shelf.weights = WeightsFile((tmp_path / "net.pth").as_uri(), 98 * 2**20)
    cache.asks_first = True
    for ask in (use, lambda cache, name: cache.check(name)):
        with refused("a", "98 MB", error=NotHere):
            ask(cache, "a")
    assert not torch_home.exists() and cache.loaded_names() == []

    def leave(done: int, total: int) -> None:
        raise Cancelled

    with pytest.raises(Cancelled):
        cache.fetch("a", leave)
    with pytest.raises(NotHere):
        use(cache, "a")
    cache.fetch("a")
    cache.fetch("a", leave)  # it is here already
    use(cache, "a")
    assert cache.loaded_names() == ["a"]


def test_a_run_replaced_under_its_name_is_loaded_again(tmp_path, make_run):
    cache = ModelCache(Registry(tmp_path), device="cpu")
    x = torch.rand(1, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    for seed in (0, 1):
        model = make_run(tmp_path, "tiny", seed)
        os.utime(tmp_path / "tiny" / "weights.safetensors", ns=(seed, seed))
        with cache.use("run/tiny") as first, cache.use("run/tiny") as second:
            assert first is second
            torch.testing.assert_close(first.module(x), model(x))
    assert cache.loaded_names() == ["run/tiny"]


def test_pictures_become_normalised_batches(cache):
    image = Image.fromarray(np.arange(16, dtype=np.uint8).reshape(4, 4) * 16)
    with cache.use("a") as loaded:
        batch = loaded.prepare(image)
        assert batch.shape == (1, 1, 4, 4) and batch.device == loaded.device == torch.device("cpu")
        torch.testing.assert_close(batch[0, 0], torch.arange(16.0).reshape(4, 4) * 16 / 255)
        assert loaded.to_inputs(torch.rand(3, 1, 4, 4)).is_contiguous(memory_format=torch.channels_last)
