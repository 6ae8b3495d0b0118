"""A disk that is full."""


def refuse(*_):
    raise OSError(28, "No space left on device")
