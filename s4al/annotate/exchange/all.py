"""The formats there are."""

from __future__ import annotations

from s4al.annotate.exchange import coco, coco_panoptic, cvat, cvat_mask, label_studio, labelme, png, yolo
from s4al.annotate.exchange.contract import Format
from s4al.errors import ConfigError

# The order in which a source is looked at: png, which takes any folder of PNGs, comes last.
_MODULES = (label_studio, cvat, cvat_mask, coco_panoptic, coco, labelme, yolo, png)
FORMATS: dict[str, Format] = {module.FORMAT.name: module.FORMAT for module in _MODULES}


def find_format(name: str) -> Format:
    """Raises ConfigError where there is none of this name."""
    if name not in FORMATS:
        raise ConfigError(f"There is no format {name!r}.", remedy=f"Choose one of: {', '.join(FORMATS)}.")
    return FORMATS[name]
