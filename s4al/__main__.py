"""`python -m s4al`, and `torchrun -m s4al`."""

from __future__ import annotations

from s4al.cli import main

if __name__ == "__main__":
    main()
