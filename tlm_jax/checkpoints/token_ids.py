"""Token ids that begin, end and fill a model's texts: as its files say, as transformers is told."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from tlm_jax.checkpoints.formats import hugging_face, native
from tlm_jax.checkpoints.pretrained import Pretrained
from tlm_jax.errors import UserError
from tlm_jax.system.text_files import json_object

BOS, EOS, PAD, START = "bos_token_id", "eos_token_id", "pad_token_id", "decoder_start_token_id"
_TRAINED = {BOS: "bos_id", EOS: "eos_id", PAD: "pad_id"}
_UNKNOWN = (
    "note: which tokens begin and end this model's texts is not known, so config.json names none; "
    "set eos_token_id there before the model is served"
)


class Described(NamedTuple):
    """What transformers is told.

    Attributes:
      config: content of config.json.
      generation: content of generation_config.json; None: what lies beside the source, or nothing.
      notes: lines for people.
    """

    config: dict[str, Any]
    generation: dict[str, Any] | None
    notes: tuple[str, ...] = ()


def end_ids(source: Pretrained) -> tuple[int, ...]:
    """Returns the tokens that end a text by the model's own files, if they name any.

    generation_config.json comes before config.json, as in transformers; a chat model often names
    its end of turn in the former only. Where training gave the ids another vocabulary, they are
    what vocabulary.json says.

    Raises:
      UserError: a file is damaged, or what it names is no token id.
    """
    trained = _trained_ids(source)
    named = _named_ids(source)
    if trained is not None and not _agree(named, trained):
        return _ends(trained)
    return _ends(named)


def describe(source: Pretrained, config: Mapping[str, Any]) -> Described:
    """Returns config.json with the ids of the model's training, and generation_config.json.

    What the model came with stays where it agrees with its training, or where nothing is known of
    that. Unsaid, the ids would be those that transformers assumes of a family (LLaMA: 1 begins and
    2 ends a text), and a served model would not stop.

    Args:
      source: the model.
      config: config.json without them, or as the model came with it.

    Raises:
      UserError: as `end_ids`.
    """
    trained, named = _trained_ids(source), _named_ids(source)
    if trained is None:
        if source.config.is_encoder_decoder or source.hugging_face is not None:
            return Described(dict(config), None)
        return Described({**config, BOS: None, EOS: None, PAD: None}, None, (_UNKNOWN,))
    if source.hugging_face is not None and _agree(named, trained):
        return Described(dict(config), None)
    if source.config.is_encoder_decoder:
        ids = {EOS: trained[EOS], PAD: trained[PAD], START: trained[BOS] or 0}
    else:
        # Without a token of its own, a text begins with padding.
        ids = {**trained, BOS: trained[PAD] if trained[BOS] is None else trained[BOS]}
    known = {name: value for name, value in ids.items() if value is not None}
    kept = {
        name: value
        for name, value in _generation_config(source).items()
        if not name.endswith(("_token_id", "_tokens", "_decoder_ids"))
    }
    return Described({**config, **ids}, {**kept, **known})


def _agree(named: Mapping[str, Any], trained: Mapping[str, int | None]) -> bool:
    """Returns whether a model's files name the tokens that it was trained with."""
    bos = trained[BOS]
    return trained[EOS] in _ends(named) and (bos is None or named.get(BOS, bos) in (bos, None))


def _ends(ids: Mapping[str, Any]) -> tuple[int, ...]:
    found = ids.get(EOS)
    return tuple(found) if isinstance(found, list) else () if found is None else (found,)


def _named_ids(source: Pretrained) -> dict[str, Any]:
    """Returns the ids of generation_config.json, else of config.json."""
    found: dict[str, Any] = {}
    for file, fields in (
        (hugging_face.CONFIG, source.hugging_face or {}),
        (hugging_face.GENERATION_CONFIG, _generation_config(source)),
    ):
        for name in (BOS, EOS):
            value = fields.get(name)
            ids = value if isinstance(value, list) and name == EOS else [value]
            if value is not None and not all(type(number) is int for number in ids):
                raise UserError(
                    f"{source.path}: {name} in {file} is {value!r}; expected the number of a token"
                    + (" or a list of them" if name == EOS else "")
                )
            if value is not None:
                found[name] = value
    return found


def _generation_config(source: Pretrained) -> dict[str, Any]:
    content = source.companions.get(hugging_face.GENERATION_CONFIG)
    if content is None:
        return {}
    data = content.read_bytes() if isinstance(content, Path) else content
    return json_object(data, f"{source.path}: {hugging_face.GENERATION_CONFIG}")


def _trained_ids(source: Pretrained) -> dict[str, int | None] | None:
    """Returns the ids in vocabulary.json; None where training wrote none, or it is damaged."""
    content = source.companions.get(native.VOCABULARY_FILE)
    if content is None:
        return None
    try:
        fields = json.loads(content.read_bytes() if isinstance(content, Path) else content)
        return {name: fields[ours] for name, ours in _TRAINED.items()}
    except (ValueError, KeyError, TypeError):
        return None
