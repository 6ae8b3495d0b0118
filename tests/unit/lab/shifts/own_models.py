"""Names and models for tests of the shift lab."""

import threading

MODEL = "fashion_cnn"
PATIENCE = 30


def elsewhere(call, *args):
    """What a call answers in a thread of its own, which must not have to wait for this one."""
    answers = []
    thread = threading.Thread(target=lambda: answers.append(call(*args)), daemon=True)
    thread.start()
    thread.join(PATIENCE)
    assert answers, "it fails, or waits for a model that nobody gives back"
    return answers[0]
