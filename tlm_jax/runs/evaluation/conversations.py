"""Questions of an evaluation asked in a chat model's own form, as `tlm_jax.infer` asks them."""

from __future__ import annotations

import dataclasses

import numpy as np

from tlm_jax.errors import UserError
from tlm_jax.evaluation.eval_set import EvalSet
from tlm_jax.ragged import Ragged
from tlm_jax.runs.inference.prompt import Prompt, as_conversation
from tlm_jax.runs.inference.tokens import PromptEncoder
from tlm_jax.runs.opened.model import OpenedModel


def as_conversations(eval_set: EvalSet, model: OpenedModel, system: str | None) -> EvalSet:
    """Returns the set with each prompt as a user's message, written by the model's chat template.

    The template writes all that stands around the message, BOS included; the records keep the
    text of the question.

    Args:
      eval_set: of a task with prompts.
      model: whose template it is, read with the set's vocabulary.
      system: a system message before each; None for none.

    Raises:
      UserError: the task has no prompts; the model has no template, or it refuses a message.
    """
    if "inputs" not in eval_set.examples.features:
        raise UserError(
            f"CHAT is True, but {eval_set.task} has no inputs to ask: set CHAT to False, or "
            "choose a task with prompts"
        )
    encoder = PromptEncoder(model, too_long="error", longest=None)
    tokens = []
    for name, record in zip(eval_set.examples.ids, eval_set.examples.records):
        inputs = record["inputs"]  # tokens, of SeqIO's own tasks
        text = inputs if isinstance(inputs, str) else eval_set.vocabulary.decode(inputs.tolist())
        prompt = Prompt(name, f"{eval_set.task} {name}", text=text)
        tokens.append(np.asarray(encoder.encode(as_conversation(prompt, system)), np.int32))
    features = {**eval_set.examples.features, "inputs": Ragged.from_arrays(tokens, np.int32)}
    reading = model.reading
    if not model.encoder_decoder:
        reading = dataclasses.replace(reading, start_id=None, prompt_eos=False)
    examples = dataclasses.replace(eval_set.examples, features=features)
    return dataclasses.replace(eval_set, examples=examples, reading=reading)
