"""A live teacher's own tokens of the same examples, where its vocabulary is not the student's."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Bool, Int, Integer

from tlm_jax.alignment import offsets
from tlm_jax.alignment.vocabulary_map import SAME, VocabularyMap
from tlm_jax.data.pipeline.converter import Converter
from tlm_jax.data.pipeline.converters import make_converter
from tlm_jax.data.pipeline.reader import Reader
from tlm_jax.data.reading import Reading, start_id
from tlm_jax.data.sources import Example
from tlm_jax.errors import UserError
from tlm_jax.ragged import PreparedExamples, Ragged, TokenizedExamples
from tlm_jax.vocabularies import Vocabulary
from tlm_jax.vocabularies.token_bytes import TokenTable, token_table

PREFIX = "teacher/"
"""Begins the names of the teacher's features in a batch, and of its tokens in a record."""

STEPS = "teacher_steps"
"""The feature [B, T] that says where in its row the teacher predicts each of the student's targets;
-1 where the two do not write the same token there."""


@dataclasses.dataclass(frozen=True)
class TeacherTokens:
    """How a live teacher reads the examples.

    Student and teacher are to have read the same text wherever one learns from the other. So the
    teacher says nothing of an example whose prompt the two read cut at different places, nor of
    targets that are cut off in its own row.

    Attributes:
      vocabulary: the teacher's.
      architecture: "encoder_decoder" or "decoder_only".
      feature_lengths: the teacher's tokens kept of inputs and targets.
      reading: how it reads prompts and answers.
    """

    vocabulary: Vocabulary
    architecture: str
    feature_lengths: Mapping[str, int]
    reading: Reading

    def features(
        self, prepared: PreparedExamples, rows: Int[np.ndarray, "n"], num_rows: int
    ) -> dict[str, np.ndarray]:
        """Returns the teacher's features of a batch, one example a row.

        Args:
          prepared: examples that a `TeacherTokensReader` read.
          rows: the row of each.
          num_rows: of the batch.
        """
        converter = self._converter()
        own = converter.prepare(self._own(prepared))
        batch = converter.convert(own, rows, num_rows, packed=False)
        return {PREFIX + name: values for name, values in batch.items()}

    def truncated(self, prepared: PreparedExamples) -> dict[str, int]:
        """Returns how many of the examples lose tokens of the teacher's, by feature."""
        cut = self._converter().find_truncated(self._own(prepared))
        return {PREFIX + name: int(np.count_nonzero(of)) for name, of in cut.items()}

    def _converter(self) -> Converter:
        return make_converter(
            self.architecture,
            feature_lengths=dict(self.feature_lengths),
            bos_id=self.start_id(tuple(self.feature_lengths)),
            mark_padding=True,
        )

    def _own(self, prepared: PreparedExamples) -> TokenizedExamples:
        """Returns the examples in the teacher's tokens, not trimmed."""
        records = prepared.examples.records
        features = {
            name: Ragged.from_arrays([np.asarray(r[PREFIX + name]) for r in records], np.int32)
            for name in self.feature_lengths
        }
        return TokenizedExamples(features, prepared.examples.ids, records)

    def start_id(self, features: Sequence[str]) -> int | None:
        """Returns what its decoder reads first; None for the first token of the prompt."""
        return start_id(self.reading, self.vocabulary, features)


class TeacherTokensReader(Reader):
    """Adds the teacher's tokens to another reader's records, and `teacher_steps` to its features.

    Args:
      base: the reader.
      settings: the teacher's.
      feature_lengths: the student's tokens kept.
    """

    def __init__(self, base: Reader, settings: TeacherTokens, feature_lengths: Mapping[str, int]):
        self.name = base.name
        self.features = base.features
        self.vocabulary = base.vocabulary
        self.num_examples = base.num_examples
        self._base = base
        self._settings = settings
        self._feature_lengths = feature_lengths
        self._teacher = token_table(settings.vocabulary)
        self._student = token_table(base.vocabulary)
        self._student_ids = VocabularyMap.of(self._teacher, self._student).maps[SAME]

    def read(self, indices: Integer[np.ndarray, "n"]) -> TokenizedExamples:
        examples = self._base.read(indices)
        own = self._tokens(examples.records)
        targets = examples.features["targets"]
        steps = np.full(len(targets.values), -1, np.int32)
        for i in np.flatnonzero(self._same_prompts(examples, own)).tolist():
            here = slice(int(targets.starts[i]), int(targets.starts[i] + targets.lengths[i]))
            prompt = len(own["inputs"][i]) if "inputs" in own else 0
            steps[here] = self._steps(prompt, own["targets"][i], targets.values[here])
        records = tuple(
            {**record, **{PREFIX + name: tokens[i] for name, tokens in own.items()}}
            for i, record in enumerate(examples.records)
        )
        features = {**examples.features, STEPS: Ragged(steps, targets.lengths)}
        return TokenizedExamples(features, examples.ids, records)

    def _tokens(self, records: Sequence[Example]) -> dict[str, list[np.ndarray]]:
        """Returns inputs and targets by their names, as the teacher reads them."""
        texts = {name: self._texts(records, name) for name in self.features}
        vocabulary, reading = self._settings.vocabulary, self._settings.reading
        if "inputs" in texts:
            prompts = [reading.prompt_text(text) for text in texts["inputs"]]
            pairs = reading.encode(vocabulary, prompts, texts["targets"])
            encoded = dict(zip(("inputs", "targets"), pairs))
        else:
            encoded = {"targets": vocabulary.encode_batch(texts["targets"])}
        eos = np.array([vocabulary.eos_id], np.int32)
        return {
            name: ids if name == "inputs" and reading.plain else [np.append(i, eos) for i in ids]
            for name, ids in encoded.items()
        }

    def _texts(self, records: Sequence[Example], name: str) -> list[str]:
        texts = [record[name] for record in records]
        if not all(isinstance(text, str) for text in texts):
            raise UserError(
                f"task {self.name!r} gives {name} as token ids, which a teacher of another "
                "vocabulary cannot read: give text, or take a teacher with the student's."
            )
        return [str(text) for text in texts]

    def _same_prompts(
        self, examples: TokenizedExamples, own: Mapping[str, Sequence[np.ndarray]]
    ) -> Bool[np.ndarray, "n"]:
        """Returns of which examples both read the same prompt: whole, or cut at the same place."""
        if "inputs" not in own:
            return np.ones(len(examples), bool)
        ours = examples.features["inputs"]
        input_lengths = np.array([len(ids) for ids in own["inputs"]], np.int64)
        limits = self._settings.feature_lengths["inputs"], self._feature_lengths["inputs"]
        same = (input_lengths <= limits[0]) & (ours.lengths <= limits[1])
        for i in np.flatnonzero(~same).tolist():
            read = (
                _pieces(self._teacher, own["inputs"][i][: limits[0]]),
                _pieces(self._student, ours[i][: limits[1]]),
            )
            same[i] = b"".join(read[0]) == b"".join(read[1])
        return same

    def _steps(self, prompt: int, own: np.ndarray, student: np.ndarray) -> np.ndarray:
        aligned = offsets.align(_pieces(self._teacher, own), _pieces(self._student, student))
        steps = np.full(len(student), -1, np.int32)
        starts = np.cumsum(aligned.counts) - aligned.counts
        single = np.flatnonzero(aligned.counts == 1)
        steps[single] = aligned.steps[starts[single]]
        # What the teacher says there is about tokens that begin where its own does.
        written = self._student_ids[own[steps[single]]]
        steps[single] = np.where(written == student[single], steps[single], -1)
        if len(student) and student[-1] == self._student.eos_id:
            steps[-1] = len(own) - 1
        settings = self._settings
        is_predicted = (steps >= 0) & (steps < settings.feature_lengths["targets"])
        if settings.architecture == "decoder_only":
            prompt = min(prompt, settings.feature_lengths.get("inputs", 0))
            # Without BOS the first token of the prompt stands in its place.
            steps = steps + prompt - (settings.start_id(self.features) is None)
        return np.where(is_predicted, steps, -1).astype(np.int32)


def _pieces(table: TokenTable, ids: np.ndarray) -> list[bytes]:
    return [table.pieces[i] for i in ids]
