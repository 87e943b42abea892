"""Where an upsampled pixel lies among the low-resolution ones: one rule for the kernel on the CPU and on the GPU."""

from __future__ import annotations

import numpy as np


def interpolation_taps(low_size: int, size: int, align_corners: bool) -> tuple[np.ndarray, np.ndarray]:
    """The positions of torch.nn.functional.interpolate(mode="bilinear") along one axis, computed in float64.

    Output i lies between the low-resolution pixels lower[i] and lower[i] + 1, or twice the last one at the edge. Both
    count, also where the weight of one is zero: what is not finite in either must show.

    Returns
    -------
    lower : int64 (size,), never decreasing.
    weight : float64 (size,) in [0, 1), of the second of the two.
    """
    position = np.arange(size, dtype=np.float64)
    if align_corners:
        source = position * ((low_size - 1) / max(size - 1, 1))
    else:
        source = np.maximum((position + 0.5) * (low_size / size) - 0.5, 0)
    lower = np.minimum(source.astype(np.int64), low_size - 1)
    return lower, source - lower
