"""The one exception the models package raises for something the user can put right."""


class ModelsError(ValueError):
    """What was wrong with this input and what to do about it, in one sentence for the user."""


class ImageError(ModelsError):
    """The file is no picture this program can use; the message says why."""
