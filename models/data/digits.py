"""Handwritten digits that come with scikit-learn, so that nothing is downloaded.

They are the test part of "Optical Recognition of Handwritten Digits" (Alpaydin and Kaynak, UCI, 1998).
"""

import numpy as np

CATEGORIES = tuple(str(digit) for digit in range(10))
_WHITE = 16


def load_digits() -> tuple[np.ndarray, np.ndarray]:
    """All 1,797 digits.

    Returns:
        Images ``(N, 8, 8)`` uint8, their 17 grey values spread over 0 to 255, and labels ``(N,)`` int64.
    """
    from sklearn import datasets

    digits = datasets.load_digits()
    return np.rint(digits.images * (255 / _WHITE)).astype(np.uint8), digits.target.astype(np.int64)
