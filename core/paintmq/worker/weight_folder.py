"""Finding weight files by name: paths from the settings first, then the models folder."""

from pathlib import Path

from attrs import frozen

from paintmq.config import WeightsConfig
from paintmq.errors import WeightsMissingError


@frozen
class WeightFolder:
    """A WeightFinder over the settings ``[weights]``."""

    config: WeightsConfig

    def path(self, name: str) -> Path:
        given = self.config.paths.get(name)
        places = [Path(given), Path(given) / name] if given else []
        places.append(self.folder / name)
        for place in places:
            if place.is_file():
                return place
        raise WeightsMissingError(
            f"weights {name} are not on this machine; put the file into {self.folder}"
            f" or name its place in [weights.paths]"
        )

    @property
    def folder(self) -> Path:
        if self.config.folder:
            return Path(self.config.folder).expanduser()
        from platformdirs import user_data_path

        return user_data_path("paintmq") / "models"
