"""Pure functions: nn.Module and tensors in, frozen dataclasses out.

Nothing of files, runs, models by name or the page. Networks are classifiers or their parts, in eval mode unless a
docstring says otherwise; ``progress(done, total)`` may raise ``Cancelled``.
"""
