"""Acquisition: from scores of regions to what is asked."""
