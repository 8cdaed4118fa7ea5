"""Answers of chat completions and completions, and what an import makes of them."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tlm_jax.data.records import read_records
from tlm_jax.runs.cache_teacher.commands import import_captured
from tlm_jax.teacher_cache import TeacherCache
from tlm_jax.teacher_cache.steps import content_key


def token(text: str, logprob: Any = -0.1, *tops: tuple[str, Any], **more: Any) -> dict[str, Any]:
    """An entry of chat completions; its candidates are itself and `tops`."""

    def one(text: str, value: Any) -> dict[str, Any]:
        return {"token": text, "logprob": value, "bytes": list(text.encode())}

    candidates = [one(text, logprob), *(one(*top) for top in tops)]
    return {**one(text, logprob), "top_logprobs": candidates, **more}


def chat(text: str, *tokens: dict[str, Any] | str, **message: Any) -> dict[str, Any]:
    content = [token(one) if isinstance(one, str) else one for one in tokens]
    return {
        "message": {"role": "assistant", "content": text, **message},
        "finish_reason": "stop",
        "logprobs": {"content": content},
    }


def completion(text: str, tokens: list[str], logprobs: list[Any], tops: Any = None) -> Any:
    listed = {"tokens": tokens, "token_logprobs": logprobs, "top_logprobs": tops}
    return {"text": text, "finish_reason": "stop", "logprobs": listed}


class Imported:
    """What an import of one answer after another made of them."""

    def __init__(self, directory: Path, capsys: Any):
        self._directory, self._capsys = directory, capsys

    def __call__(self, *choices: dict[str, Any], options: tuple[str, ...] = (), **row: Any) -> Any:
        """Returns the tokens of the first solution, each with its candidates' probabilities."""
        path = self._directory / "answers.jsonl"
        lines = [
            {"id": f"q{n}", "question": f"Q{n}?", "choices": [choice], **row}
            for n, choice in enumerate(choices)
        ]
        path.write_text("".join(json.dumps(line) + "\n" for line in lines))
        to = self._directory / f"cache-{len(list(self._directory.iterdir()))}"
        named = ["--output_dir", str(to), "--teacher", "t", *options]
        assert import_captured(["openai", str(path), *named]) == 0
        self.shown = self._capsys.readouterr().out
        cache: Any = TeacherCache.open(to)
        self.records = list(read_records(to / "examples.jsonl"))
        self.text = self.records[0].generated.get("targets")
        found = cache.get(content_key(self.records[0].question, str(self.text)))
        pieces = cache.table.pieces
        self.candidates = [
            {
                pieces[i] or b"END": math.exp(value)
                for i, value in zip(ids, values)
                if value > -np.inf
            }
            for ids, values in zip(found.steps.ids.tolist(), found.steps.logprobs.tolist())
        ]
        self.tails = np.exp(found.steps.tail_logprobs).tolist()
        return [pieces[i] or (b"END", b"OTHER")[i] for i in found.token_ids.tolist()]


def close(probabilities: dict[bytes, float]) -> Any:
    """Caches hold log-probabilities in steps of 5/512."""
    return pytest.approx(probabilities, abs=6e-3)
