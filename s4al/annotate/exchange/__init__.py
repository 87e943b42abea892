"""Regions to other annotation tools and back: one contract, one module a format, one way to read what comes back."""
