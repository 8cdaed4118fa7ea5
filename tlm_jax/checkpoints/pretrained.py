"""Opens a model of any format: what it is, its parameters as lazy arrays, its tokenizer."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from tlm_jax import models, trees
from tlm_jax.checkpoints import families, peft_config
from tlm_jax.checkpoints.base_model import BaseModel
from tlm_jax.checkpoints.formats import gguf, hugging_face, native, t5x, t5x_models
from tlm_jax.checkpoints.merged import merged_arrays
from tlm_jax.checkpoints.slot_layouts import PREFIX
from tlm_jax.checkpoints.structure import check_same
from tlm_jax.checkpoints.write_failure import reason_and_file
from tlm_jax.errors import UserError, nearest
from tlm_jax.lazy import LazyArray
from tlm_jax.losses.reduction import canonical_normalization
from tlm_jax.models import layouts
from tlm_jax.models.config import ModelConfig
from tlm_jax.system import git_lfs
from tlm_jax.system.home import expanded

ASSETS = Path(__file__).parents[1] / "assets"
"""Models that come with the library."""

REPORT_FILE = "conversion.json"
"""What a conversion writes about itself, beside the model."""


@dataclasses.dataclass(frozen=True)
class Pretrained:
    """A model in a file or directory; nothing but headers has been read.

    Attributes:
      path: as named by the user.
      source_format: a name in `FORMATS`.
      config: the model, with our defaults for how it is run.
      arrays: parameters by our names, layers unrolled and heads joined.
      files: what was read, for the manifest of a conversion.
      companions: tokenizer and other small files to carry along, by name: a path, or the content.
      hugging_face: content of its config.json, if it has been one at some time.
      step: of training, where the format says it.
      optimizer: Adafactor's slots by T5X's names, laid out as the parameters are in the files;
        empty where there are none.
      loss_normalization: what the loss was divided by whose gradients those slots sum up, as
        `losses.reduction.canonical_normalization` spells it; None: not told.
      checksums: of those files whose content has been compared with them; sizes included.
    """

    path: Path
    source_format: str
    config: ModelConfig
    arrays: Mapping[str, LazyArray]
    files: tuple[Path, ...]
    companions: Mapping[str, Path | bytes] = dataclasses.field(default_factory=dict)
    hugging_face: Mapping[str, Any] | None = None
    step: int = 0
    optimizer: Mapping[str, LazyArray] = dataclasses.field(default_factory=dict)
    loss_normalization: str | float | None = None
    checksums: Mapping[Path, str] = dataclasses.field(default_factory=dict)


def open_pretrained(path: Path | str, source_format: str | None = None) -> Pretrained:
    """Opens a model; its format is recognised from the files.

    Args:
      path: a Hugging Face directory, a T5X checkpoint, a .gguf file, a MODEL_DIR or one of its
        checkpoints, or a directory made by `tlm_jax.convert`; asset:NAME is a model that comes
        with the library.
      source_format: a name in `FORMATS`, not to look.

    Raises:
      UserError: there is no model here, or it cannot be read.
    """
    path = _located(path)
    if source_format is not None and source_format not in FORMATS:
        raise UserError(
            f"unknown format {source_format!r}; expected one of {', '.join(FORMATS)}."
            + nearest(source_format, FORMATS)
        )
    try:
        if not path.exists():
            raise UserError(f"no model at {path}: there is no such file or directory")
        return FORMATS[source_format or recognised(path)](path)
    except OSError as error:
        raise UserError(f"{path} cannot be read: {reason_and_file(error)}") from error


def _located(path: Path | str) -> Path:
    name = str(path)
    if not name.startswith("asset:"):
        return expanded(path)
    found = ASSETS / name.removeprefix("asset:")
    known = [f"asset:{asset.name}" for asset in sorted(ASSETS.iterdir())]
    if name not in known:
        raise UserError(
            f"no model {name!r} comes with the library.{nearest(name, known)} "
            f"There is {', '.join(known)}."
        )
    return found


def recognised(path: Path) -> str:
    """Returns the format of a model.

    Raises:
      UserError: it is none that we know.
    """
    if gguf.is_gguf(path):
        return "gguf"
    if native.is_native(path):
        return "native"
    if t5x.is_t5x(path):
        return "t5x"
    if hugging_face.is_hugging_face(path):
        return "hf"
    if (path / peft_config.FILE).is_file():
        raise UserError(
            f"{path} holds PEFT's adapters, without the model that they are on; name that model, "
            "and this directory as LORA_INITIAL_PATH"
        )
    # Says what is wrong with the weights, if there are any.
    if path.is_dir() and any(path.glob("*.safetensors")):
        raise UserError(f"{path} has safetensors files but no config.json beside them")
    if path.is_file() and hugging_face.is_hugging_face(path.parent):
        raise UserError(f"{path} is one file of a model; name its directory, {path.parent}")
    if path.is_dir() and [*path.glob("*.bin"), *path.glob("*.pt")]:
        hugging_face.weight_files(path)
    if path.is_file():
        with path.open("rb") as file:
            git_lfs.refuse_pointer(file.read(git_lfs.START_BYTES), str(path))
    raise UserError(
        f"{path} is no model: expected a Hugging Face directory (config.json and safetensors), a "
        "T5X checkpoint, a .gguf file, or a MODEL_DIR"
    )


def _open_hugging_face(path: Path) -> Pretrained:
    directory = path if path.is_dir() else path.parent
    if not hugging_face.is_hugging_face(directory):
        raise UserError(f"{directory} has no config.json")
    config = hugging_face.read_config(directory)
    family = families.family_of(config, str(directory / hugging_face.CONFIG))
    model = _with_place(directory, lambda: family.read_config(config))
    files = hugging_face.weight_files(directory)
    hf_arrays = hugging_face.open_arrays(files)
    arrays = families.import_tensors(
        family,
        model,
        hf_arrays,
        str(directory),
        quantised_by=hugging_face.quantised_by(directory, config),
    )
    return Pretrained(
        path,
        "hf",
        model,
        arrays,
        (directory / hugging_face.CONFIG, *files),
        companions_beside(directory),
        config,
    )


def _open_gguf(path: Path) -> Pretrained:
    opened = gguf.open_gguf(path)
    family = families.family_of(opened.config, str(path))
    model = _with_place(path, lambda: family.read_config(opened.config))
    arrays = families.import_tensors(family, model, opened.arrays, str(path))
    return Pretrained(path, "gguf", model, arrays, (path,), opened.companions, opened.config)


def _open_t5x(path: Path) -> Pretrained:
    opened = t5x.open_t5x(path)
    model = t5x_models.config_from_arrays(opened.arrays)
    arrays = layouts.unrolled(opened.arrays)
    _check_fits(arrays, model, path, "a T5X model of this form")
    return Pretrained(
        path,
        "t5x",
        model,
        arrays,
        tuple(opened.files),
        companions_beside(path) or companions_beside(path.parent),
        step=opened.step,
        optimizer=opened.state,
        loss_normalization=_recorded_normalization(path),
    )


def _open_native(path: Path) -> Pretrained:
    opened = native.open_native(path)
    files = tuple(opened.files)
    checksums = dict(opened.checksums)
    if opened.base is not None:
        identity = BaseModel(**opened.base)
        base = open_pretrained(_base_path(path, identity))
        arrays = merged_arrays(base.arrays, opened.arrays, opened.config, identity, where=str(path))
        files += base.files
        checksums |= base.checksums
    else:
        arrays = layouts.unrolled(opened.arrays)
        _check_fits(arrays, opened.config, path, f"the model in {native.MODEL_FILE}")
    return Pretrained(
        path,
        "native",
        opened.config,
        arrays,
        files,
        companions_beside(opened.model_dir),
        opened.hugging_face,
        step=opened.step,
        # Those of adapters are of no use to the merged model.
        optimizer={} if opened.base else {PREFIX + k: array for k, array in opened.slots.items()},
        loss_normalization=opened.loss_normalization,
        checksums=checksums,
    )


def _recorded_normalization(path: Path) -> str | float | None:
    """Returns what divided the loss whose gradients made the optimizer's state beside a report.

    T5X's own checkpoints have no report, and say nothing of it: None.

    Args:
      path: of a checkpoint that a conversion may have written, or of the folder around it.

    Raises:
      UserError: the report is damaged.
    """
    file = next((f / REPORT_FILE for f in (path, path.parent) if (f / REPORT_FILE).is_file()), None)
    if file is None:
        return None
    try:
        recorded = json.loads(file.read_text(encoding="utf-8")).get("loss_normalization")
        return None if recorded is None else canonical_normalization(recorded)
    except (ValueError, AttributeError, TypeError):
        raise UserError(f"{file} is damaged: it is no JSON object; remove it to go on") from None


FORMATS: Mapping[str, Callable[[Path], Pretrained]] = {
    "hf": _open_hugging_face,
    "t5x": _open_t5x,
    "gguf": _open_gguf,
    "native": _open_native,
}
"""What can be opened, by the names of `--from`."""


def _check_fits(
    arrays: Mapping[str, LazyArray], config: ModelConfig, path: Path, model: str
) -> None:
    """Checks that unrolled parameters are those of a model, in name, shape and kind."""
    abstract = models.abstract_params(dataclasses.replace(config, scan_layers=False))
    check_same(arrays, trees.flatten(abstract), where=str(path), model=model)


def _base_path(path: Path, identity: BaseModel) -> Path:
    base = Path(identity.origin)
    if not base.exists():
        raise UserError(
            f"{path} holds adapters alone, on {identity.origin}, which is not there any more"
        )
    return base


def companions_beside(directory: Path) -> dict[str, Path | bytes]:
    """Returns the tokenizer files of a directory, and the note of which vocabulary it was."""
    names = (*hugging_face.TOKENIZER_FILES, native.VOCABULARY_FILE)
    return {name: directory / name for name in names if (directory / name).is_file()}


def _with_place(path: Path, read: Callable[[], ModelConfig]) -> ModelConfig:
    try:
        return read()
    except UserError as error:
        raise UserError(f"{path}: {error}") from None
