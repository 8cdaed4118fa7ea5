"""The converter of a pipeline, chosen by its settings and by what its readers give."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tlm_jax.data.pipeline.config import PipelineConfig
from tlm_jax.data.pipeline.converter import Converter
from tlm_jax.data.pipeline.converters import make_converter
from tlm_jax.data.pipeline.reader import Reader
from tlm_jax.data.reading import start_id
from tlm_jax.data.teachers.join import OpenTeacher, fill_of
from tlm_jax.data.teachers.tokens import STEPS
from tlm_jax.errors import UserError


def converter_for(
    config: PipelineConfig, readers: Mapping[str, Reader], teacher: OpenTeacher | None
) -> Converter:
    """Returns the converter for what the readers of a pipeline give.

    Raises:
      UserError: the tasks of a mixture differ in features or vocabulary, or one of the features
        has no length.
    """
    first = next(iter(readers.values()))
    for reader in readers.values():
        if set(reader.features) != set(first.features) or (
            reader.vocabulary.fingerprint != first.vocabulary.fingerprint
        ):
            raise UserError(
                f"tasks {first.name!r} and {reader.name!r} of {config.mixture_or_task_name!r} "
                "differ in their features or vocabularies; a mixture needs the same ones. "
                "Choose one vocabulary for the run, or mix other tasks."
            )
    options: dict[str, Any] = {
        "feature_lengths": dict(config.feature_lengths),
        "bos_id": start_id(config.reading, first.vocabulary, first.features),
        "aligned": {
            **config.aligned_features,
            **{name: fill_of(name) for name in (teacher.features() if teacher else ())},
            **({STEPS: -1.0} if config.teacher_tokens is not None else {}),
        },
        "mark_padding": config.mark_padding or not first.vocabulary.zero_is_padding,
    }
    if config.architecture == "decoder_only":
        options["loss_on_targets_only"] = config.loss_on_targets_only
    converter = make_converter(config.architecture, **options)
    converter.check_features(first.features, config.mixture_or_task_name)
    return converter
