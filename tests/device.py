"""Which device the tests compute on; every device has to pass the same ones."""

import os

DEVICE = os.environ.get("CONVSCOPE_TEST_DEVICE", "cpu")
"""``cpu``, ``cuda`` or ``mps``. What is exact on one machine only says so where it is asserted."""
