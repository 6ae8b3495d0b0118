"""The queue: first come first served, one holder per device, and Stop is heard while waiting."""

from models.device_turn import _is_first, device_turn
from models.runs import RunWriter, create_run, request_stop
from models.stopping import StopRequest


def test_first_submitted_goes_first(tmp_path):
    paths = [create_run(tmp_path, name, {}) for name in ("b", "a", "c")]
    assert [_is_first(path, "cpu") for path in paths] == [True, False, False]
    RunWriter(paths[0]).update(state="running")
    assert [_is_first(path, "cpu") for path in paths[1:]] == [True, False]
    RunWriter(paths[1]).update(device="cuda")
    assert _is_first(paths[2], "cpu") and not _is_first(paths[2], "cuda")


def test_one_at_a_time_per_device_and_stop_while_waiting(tmp_path):
    first, second = (create_run(tmp_path, name, {}) for name in "ab")
    with StopRequest(first) as stop, device_turn(first, "cpu", stop) as turn:
        assert turn
        RunWriter(first).update(state="running")
        with StopRequest(second) as other, device_turn(second, "cuda", other) as turn:
            assert turn
        request_stop(second)
        with StopRequest(second) as other, device_turn(second, "cpu", other) as turn:
            assert not turn
    (second / "stop").unlink()
    with StopRequest(second) as other, device_turn(second, "cpu", other) as turn:
        assert turn
