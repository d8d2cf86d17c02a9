"""Where conf/ lies: in the package, or at the root of a checkout."""

from pathlib import Path


def conf_folder() -> Path:
    """Return the folder of YAML files: beside the package in a wheel, at the repository's root in a checkout."""
    package = Path(__file__).resolve().parents[2]
    for folder in (package / "conf", package.parents[1] / "conf"):
        if (folder / "train.yaml").is_file():
            return folder
    raise FileNotFoundError(f"no conf/train.yaml in {package} or {package.parents[1]}: install transface again")
