"""The commands about features and sounds: what others read of them."""

import pytest


def test_features_have_the_four_numbers_that_were_agreed(run_json):
    found = run_json(
        *("features", "--data", "digits", "--kind", "bow", "--classifier", "knn", "--limit", 80, "--seed", 1)
    )
    assert list(found) == ["accuracy", "interval", "seconds", "shift_consistency"]
    low, high = found["interval"]
    assert 0 <= low <= found["accuracy"] <= high <= 1 and 0 <= found["shift_consistency"] <= 1


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--kind", "sift"], "sift"),
        (["--kind", "hog", "--limit", "1"], "20000"),
        (["--kind", "bow", "--name", "a"], "--name"),
    ],
)
def test_what_cannot_be_measured_is_one_line(run, more, said):
    code, out, err = run("features", "--data", "digits", *more)
    assert (code, out) == (2, "") and err.count("\n") == 1 and said in err


def test_a_sound_is_scanned(run_json):
    found = run_json("sound", "--seed", 3)
    assert found["scanned"] and not found["fixed"] and len(found["found_seconds"]) == 2
    accuracy = found["accuracy"]
    assert (
        accuracy["there"] > 0.95
        and accuracy["anywhere"] > 0.95
        and accuracy["elsewhere"] == pytest.approx(0.5, abs=0.1)
    )
