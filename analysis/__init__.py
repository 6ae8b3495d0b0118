"""Pure functions: nn.Module and tensors in, frozen dataclasses out.

Nothing of files, runs, models by name or the page.
"""
