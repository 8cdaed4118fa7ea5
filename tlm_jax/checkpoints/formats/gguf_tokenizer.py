"""Writes the tokenizer within a GGUF file as the tokenizer files of a Hugging Face directory.

GGUF holds pieces and merges, and of the rest only a name that llama.cpp knows: how text is divided
before merging is filled in here, as the tokenizer.json of these models has it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tlm_jax.checkpoints.formats.gguf_fields import check_fields
from tlm_jax.errors import UserError, nearest

TOKENIZER_FILES = ("tokenizer.json", "tokenizer.model", "tokenizer_config.json")
_WHOLE_TOKENIZERS = TOKENIZER_FILES[:2]

_UNKNOWN, _CONTROL, _USER_DEFINED, _BYTE = 2, 3, 4, 6
"""Types of pieces, in `tokenizer.ggml.token_type`."""


_CONTRACTIONS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)"
_WORDS = r"[^\r\n\p{L}\p{N}]?\p{L}+"
_REST = r" ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
_GPT2 = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
_BYTES_ONLY = {**_GPT2, "use_regex": False}


def _split(digits: str) -> dict[str, Any]:
    pattern = {"Regex": f"{_CONTRACTIONS}|{_WORDS}|{digits}|{_REST}"}
    split = {"type": "Split", "pattern": pattern, "behavior": "Isolated", "invert": False}
    return {"type": "Sequence", "pretokenizers": [split, _BYTES_ONLY]}


_SINGLE_DIGITS = {
    "type": "Sequence",
    "pretokenizers": [{"type": "Digits", "individual_digits": True}, _GPT2],
}
_LLAMA3 = _split(r"\p{N}{1,3}")
_PRE_TOKENIZERS: dict[str, dict[str, Any]] = {
    "gpt-2": _GPT2,
    "smollm": _SINGLE_DIGITS,
    "starcoder": _SINGLE_DIGITS,
    "llama-bpe": _LLAMA3,
    "llama3": _LLAMA3,
    "qwen2": _split(r"\p{N}"),
}
_MARK = "\u2581"


def tokenizer_files(metadata: Mapping[str, Any], path: Path) -> dict[str, Path | bytes]:
    """Returns the files by name.

    Args:
      metadata: of the GGUF file.
      path: of the GGUF file; a whole tokenizer beside it is taken instead of the one in it.

    Raises:
      UserError: the tokenizer in the file is damaged, or of a kind that is not known here.
    """
    files = {name: path.with_name(name) for name in TOKENIZER_FILES}
    if any(files[name].is_file() for name in _WHOLE_TOKENIZERS):
        return {name: file for name, file in files.items() if file.is_file()}
    fields = {
        name.removeprefix("tokenizer.ggml."): value
        for name, value in metadata.items()
        if name.startswith("tokenizer.ggml.")
    }
    if "tokens" not in fields:
        return {}
    check_fields(fields, path)
    kind = fields.get("model")
    if kind == "gpt2":
        content, adds_start = _byte_level(fields, path)
    elif kind == "llama":
        content, adds_start = _sentence_piece(fields), True
    else:
        raise _unknown(path, f"of the kind {kind!r}; known: 'gpt2', 'llama'")
    adds_start = fields.get("add_bos_token", adds_start)
    content["post_processor"] = _template(fields, adds_start)
    config = _config(fields, adds_start, metadata.get("tokenizer.chat_template"))
    return {
        "tokenizer.json": json.dumps(content, ensure_ascii=False).encode(),
        "tokenizer_config.json": (json.dumps(config, indent=2) + "\n").encode(),
    }


def _unknown(path: Path, what: str) -> UserError:
    return UserError(
        f"{path}: the tokenizer in it is {what}. Put tokenizer.json of the model beside the file"
    )


def _byte_level(fields: Mapping[str, Any], path: Path) -> tuple[dict[str, Any], bool]:
    """Returns a byte-level BPE, and whether its models begin with a token for that."""
    name = fields.get("pre")
    if name not in _PRE_TOKENIZERS:
        raise _unknown(
            path,
            f"byte-level BPE that divides text as {name!r}; known: {', '.join(_PRE_TOKENIZERS)}"
            + nearest(str(name), _PRE_TOKENIZERS),
        )
    llama3 = _PRE_TOKENIZERS[name] is _LLAMA3
    model = {
        "type": "BPE",
        "dropout": None,
        "unk_token": None,
        "continuing_subword_prefix": "",
        "end_of_word_suffix": "",
        "fuse_unk": False,
        "byte_fallback": False,
        # Llama 3 has words as pieces that no merges lead to.
        "ignore_merges": llama3,
        "vocab": {token: number for number, token in enumerate(fields["tokens"])},
        # A piece has no blank: it is written as another character.
        "merges": [merge.split(" ") for merge in fields["merges"]],
    }
    content = _tokenizer(
        fields,
        model,
        normalizer={"type": "NFC"} if name == "qwen2" else None,
        pre_tokenizer=_PRE_TOKENIZERS[name],
        decoder={**_GPT2, "add_prefix_space": True},
    )
    return content, llama3


def _sentence_piece(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Returns LLaMA's SentencePiece BPE, whose pieces have scores instead of merges."""
    tokens, scores = fields["tokens"], fields["scores"]
    types = fields.get("token_type") or [1] * len(tokens)
    unknown = next((token for token, kind in zip(tokens, types) if kind == _UNKNOWN), None)
    model = {
        "type": "BPE",
        "dropout": None,
        "unk_token": unknown,
        "continuing_subword_prefix": None,
        "end_of_word_suffix": None,
        "fuse_unk": True,
        "byte_fallback": _BYTE in types,
        "ignore_merges": False,
        "vocab": {token: number for number, token in enumerate(tokens)},
        "merges": _merges(tokens, scores, types),
    }
    prefixed = fields.get("add_space_prefix", True)
    marks = {"type": "Replace", "pattern": {"String": " "}, "content": _MARK}
    normalizers = [*([{"type": "Prepend", "prepend": _MARK}] if prefixed else []), marks]
    decoders: list[dict[str, Any]] = [
        {"type": "Replace", "pattern": {"String": _MARK}, "content": " "},
        {"type": "ByteFallback"},
        {"type": "Fuse"},
    ]
    if prefixed:
        decoders.append({"type": "Strip", "content": " ", "start": 1, "stop": 0})
    return _tokenizer(
        fields,
        model,
        normalizer={"type": "Sequence", "normalizers": normalizers},
        pre_tokenizer=None,
        decoder={"type": "Sequence", "decoders": decoders},
    )


def _merges(
    tokens: Sequence[str], scores: Sequence[float], types: Sequence[int]
) -> list[tuple[str, str]]:
    """Returns every way to make a piece of two others, those of the highest score first.

    SentencePiece joins the neighbours whose joint piece has the highest score, and of equal ones
    the first in the text. LLaMA's runs of blanks all have one score, and so grow from the left;
    longer pieces go first here to the same effect.
    """
    score = {
        token: scores[index]
        for index, (token, kind) in enumerate(zip(tokens, types))
        if kind not in (_CONTROL, _UNKNOWN, _BYTE)
    }
    ways = [
        (token[:cut], token[cut:])
        for token in score
        for cut in range(1, len(token))
        if token[:cut] in score and token[cut:] in score
    ]
    return sorted(ways, key=lambda way: (-score[way[0] + way[1]], -len(way[0]), -len(way[1])))


def _tokenizer(
    fields: Mapping[str, Any],
    model: dict[str, Any],
    *,
    normalizer: dict[str, Any] | None,
    pre_tokenizer: dict[str, Any] | None,
    decoder: dict[str, Any],
) -> dict[str, Any]:
    types = fields.get("token_type") or ()
    added = [
        {
            "id": number,
            "content": fields["tokens"][number],
            "single_word": False,
            "lstrip": False,
            "rstrip": False,
            "normalized": False,
            "special": kind != _USER_DEFINED,
        }
        for number, kind in enumerate(types)
        if kind in (_UNKNOWN, _CONTROL, _USER_DEFINED)
    ]
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": added,
        "normalizer": normalizer,
        "pre_tokenizer": pre_tokenizer,
        "post_processor": None,
        "decoder": decoder,
        "model": model,
    }


def _token(fields: Mapping[str, Any], role: str) -> str | None:
    number = fields.get(f"{role}_token_id")
    # Files may name a padding token that they do not have.
    known = type(number) is int and 0 <= number < len(fields["tokens"])
    return fields["tokens"][number] if known else None


def _template(fields: Mapping[str, Any], adds_start: bool) -> dict[str, Any] | None:
    """Returns what adds the tokens of start and end around a text."""
    start = _token(fields, "bos") if adds_start else None
    end = _token(fields, "eos") if fields.get("add_eos_token") else None
    if start is None and end is None:
        return None

    def around(sequence: str, type_id: int) -> list[dict[str, Any]]:
        text = [{"Sequence": {"id": sequence, "type_id": type_id}}]
        before = [{"SpecialToken": {"id": start, "type_id": type_id}}] if start else []
        after = [{"SpecialToken": {"id": end, "type_id": type_id}}] if end else []
        return [*before, *text, *after]

    return {
        "type": "TemplateProcessing",
        "single": around("A", 0),
        "pair": around("A", 0) + around("B", 1),
        "special_tokens": {
            token: {"id": token, "ids": [fields["tokens"].index(token)], "tokens": [token]}
            for token in (start, end)
            if token is not None
        },
    }


def _config(
    fields: Mapping[str, Any], adds_start: bool, chat_template: str | None
) -> dict[str, Any]:
    """Returns tokenizer_config.json."""
    config: dict[str, Any] = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "add_bos_token": bool(adds_start),
        "add_eos_token": bool(fields.get("add_eos_token", False)),
        "clean_up_tokenization_spaces": False,
    }
    names = {"bos": "bos", "eos": "eos", "unknown": "unk", "padding": "pad"}
    for role, name in names.items():
        token = _token(fields, role)
        if token is not None:
            config[f"{name}_token"] = token
    if chat_template is not None:
        config["chat_template"] = chat_template
    return config
