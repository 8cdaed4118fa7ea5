"""Has TensorFlow Datasets prepare a data set from files already downloaded, or by downloading."""

from __future__ import annotations

import dataclasses
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tlm_jax.data.tfds.records import BUILDERS
from tlm_jax.errors import UserError, nearest

_GSM8K = "https://raw.githubusercontent.com/openai/grade-school-math/master/grade_school_math/data"
_URLS = {
    "gsm8k": tuple(
        f"{_GSM8K}/{name}.jsonl" for name in ("train", "test", "train_socratic", "test_socratic")
    ),
}
"""What TFDS fetches for the builders of which it has recorded no checksums."""


@dataclasses.dataclass(frozen=True)
class Preparation:
    """What has been prepared.

    Attributes:
      path: of the prepared files.
      sizes: rows by TFDS's name of the split.
      unrecorded: names of given files whose content is not the one that TFDS has recorded.
    """

    path: Path
    sizes: Mapping[str, int]
    unrecorded: tuple[str, ...]


def prepare(builder: str, directory: Path, downloaded: Path | None = None) -> Preparation:
    """Prepares a TFDS data set below `directory`, where `tfds_records` finds it.

    With `downloaded` nothing is fetched, and nothing of TFDS's download folder remains. Without,
    TFDS fetches the files and keeps them in `directory/tensorflow_datasets/downloads`.

    Args:
      builder: 'gsm8k', 'qasc', 'esnli' or 'cos_e'.
      directory: the data directory; the files go into its folder `tensorflow_datasets`.
      downloaded: a folder that holds, at any depth, the files of the data set under the names they
        have where TFDS fetches them.

    Raises:
      UserError: an unknown builder, a missing file, or files that TFDS cannot fetch or read.
    """
    if builder not in BUILDERS:
        raise UserError(
            f"no TFDS data set {builder!r}: expected one of {', '.join(BUILDERS)}."
            + nearest(builder, BUILDERS)
        )
    import tensorflow_datasets as tfds

    made: Any = tfds.builder(builder, data_dir=directory / "tensorflow_datasets")
    unrecorded: tuple[str, ...] = ()
    with tempfile.TemporaryDirectory() as downloads:
        try:
            if downloaded is None:
                made.download_and_prepare()
            else:
                unrecorded = _hand_over(made, downloaded, Path(downloads))
                made.download_and_prepare(download_dir=downloads)
        except UserError:
            raise
        except Exception as error:  # Builders raise whatever their parsers do.
            raise UserError(
                f"{builder}: TensorFlow Datasets could not prepare it "
                f"({type(error).__name__}: {_first_line(error)})."
            ) from error
    sizes = {name: split.num_examples for name, split in made.info.splits.items()}
    return Preparation(Path(made.data_path), sizes, unrecorded)


def _hand_over(made: Any, downloaded: Path, downloads: Path) -> tuple[str, ...]:
    """Puts the files where TFDS's download manager looks for what it has fetched before.

    Returns the names of the files that differ from what TFDS has recorded. (It trusts what lies
    there: the name holds the recorded checksum, and the content is not read again.)
    """
    from tensorflow_datasets.core.download import checksums, resource

    recorded = made.url_infos or {}
    urls = tuple(recorded) or _URLS[made.name]
    found = _find_files(made.name, urls, downloaded)
    unrecorded = []
    for url, file in found.items():
        info = checksums.compute_url_info(file)
        if url in recorded and info != recorded[url]:
            unrecorded.append(file.name)
        checksum = recorded[url].checksum if url in recorded else None
        place = resource.epath.Path(downloads) / made.name / resource.get_dl_fname(url, checksum)
        place.parent.mkdir(parents=True, exist_ok=True)
        os.symlink(file.resolve(), place)
        resource.write_info_file(url, place, made.name, file.name, recorded.get(url, info))
    return tuple(unrecorded)


def _find_files(builder: str, urls: tuple[str, ...], folder: Path) -> dict[str, Path]:
    """Returns the file below the folder for each URL, by the URL's last part."""
    found: dict[str, Path] = {}
    for url in urls:
        name = url.rpartition("/")[2]
        files = sorted(path for path in folder.rglob(name) if path.is_file())
        if not files:
            raise UserError(
                f"{builder}: no file {name} in {folder} or below. Wanted: "
                f"{', '.join(url.rpartition('/')[2] for url in urls)}. To get it: {url}."
            )
        found[url] = files[0]
    return found


def _first_line(error: Exception) -> str:
    return next((line.strip() for line in str(error).splitlines() if line.strip()), "no message")
