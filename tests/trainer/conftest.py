"""What holds for all tests of the trainer."""

from __future__ import annotations

import pytest
import torch


@pytest.fixture(autouse=True)
def seeded() -> None:
    """Workers of the test runner take what is left in any order; random inputs should not depend on it."""
    torch.manual_seed(0)
