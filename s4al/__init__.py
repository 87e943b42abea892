"""s4al: semi-supervised, region-level active learning for semantic segmentation."""

__version__ = "0.1.0"
