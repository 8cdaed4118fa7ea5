"""Makes the harness's texts into tokens as its own `hf` model does, so that scores compare, but for
models that were trained on prompts with EOS."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from tlm_jax.data.reading import Reading
from tlm_jax.vocabularies import Vocabulary


class Pair(NamedTuple):
    """Token ids of a context, never empty, and of what follows it."""

    context: list[int]
    continuation: list[int]


class TextEncoder:
    """Tokens of contexts and continuations.

    A decoder-only model's texts start with BOS where it reads them so; an encoder-decoder's end
    with EOS, continuations excepted. Where a decoder-only model was trained on prompts that end
    with EOS, contexts do, and what follows is encoded by itself.

    Attributes:
      conversations: whether texts are conversations as a template writes them, EOS included.
    """

    def __init__(
        self,
        vocabulary: Vocabulary,
        reading: Reading,
        *,
        prefix_id: int | None = None,
    ):
        """Takes the tokenizer.

        Args:
          vocabulary: of the model.
          reading: how the model reads prompts.
          prefix_id: what stands in for an empty context; None: BOS, else EOS.
        """
        self._vocabulary = vocabulary
        self._reading = reading
        self.conversations = False
        if prefix_id is None:
            prefix_id = vocabulary.bos_id if vocabulary.has_bos else vocabulary.eos_id
        self.prefix_id = prefix_id

    def encode(self, texts: Sequence[str]) -> list[list[int]]:
        """Returns the tokens of whole texts, with the special ones that the model expects."""
        return [self._with_specials(ids) for ids in self._plain(texts)]

    def contexts(self, texts: Sequence[str]) -> list[list[int]]:
        """Returns the tokens of texts to be continued; the prefix where there are none."""
        return [self._ended(ids) if ids else [self.prefix_id] for ids in self.encode(texts)]

    def pairs(self, requests: Sequence[tuple[str, str]]) -> list[Pair]:
        """Returns the tokens of contexts and their continuations.

        Spaces that end a context go to the continuation: tokens begin with spaces. Of a
        decoder-only model both are encoded together and cut where the context's own tokens end, so
        that a token across the border counts to the context.
        """
        moved = [_with_spaces_moved(context, text) for context, text in requests]
        separate = not self._reading.one_sequence or self._ends_prompts
        wholes = [c if separate else c + text for c, text in moved]
        # Options of one question repeat its context.
        distinct = list(dict.fromkeys([context for context, _ in moved] + wholes))
        encoded = dict(zip(distinct, self.encode(distinct)))
        plain = dict(zip(texts := [text for _, text in moved], self._plain(texts)))
        found = []
        for (context, text), whole in zip(moved, wholes):
            if not context:
                found.append(self._after_nothing(plain[text]))
                continue
            ids = encoded[context]
            after = plain[text] if separate else encoded[whole][len(ids) :]
            # Where the border's token swallows the continuation it is scored by itself.
            found.append(Pair(self._ended(ids) if ids else [self.prefix_id], after or plain[text]))
        return found

    def windows(self, text: str, length: int) -> Iterator[Pair]:
        """Yields parts of a text that together score each of its tokens once.

        The first part follows the prefix. Each further part reads at most `length` tokens and the
        last one as many, most of them context then.

        Args:
          text: to be scored as a whole.
          length: tokens that the model reads.
        """
        (tokens,) = self.encode([text])
        for start in range(0, len(tokens), length):
            end = min(start + length, len(tokens))
            context = tokens[end - length - 1 : start] if start else [self.prefix_id]
            yield Pair(context, tokens[start:end])

    def _after_nothing(self, tokens: list[int]) -> Pair:
        if len(tokens) > 1 and tokens[0] == self.prefix_id:
            return Pair(tokens[:1], tokens[1:])
        return Pair([self.prefix_id], tokens)

    def _plain(self, texts: Sequence[str]) -> list[list[int]]:
        return [ids.tolist() for ids in self._vocabulary.encode_batch(texts)] if texts else []

    def _with_specials(self, ids: list[int]) -> list[int]:
        if not self._reading.one_sequence:
            return [*ids, self._vocabulary.eos_id] if self._reading.prompt_eos else ids
        # A chat template writes BOS itself.
        start_id = self._reading.start_id
        return ids if start_id is None or ids[:1] == [start_id] else [start_id, *ids]

    @property
    def _ends_prompts(self) -> bool:
        reading = self._reading
        return reading.one_sequence and reading.prompt_eos and not self.conversations

    def _ended(self, ids: list[int]) -> list[int]:
        return [*ids, self._vocabulary.eos_id] if self._ends_prompts else ids


def _with_spaces_moved(context: str, continuation: str) -> tuple[str, str]:
    kept = context.rstrip()
    return kept, context[len(kept) :] + continuation
