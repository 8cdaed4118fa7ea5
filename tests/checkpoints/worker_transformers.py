"""Runs where transformers is installed: loads models we wrote and saves its logits.

Usage: worker_transformers.py OUTPUT.npz DIRECTORY=REFERENCE ...
Each REFERENCE is a reference.npz whose inputs are used.
"""

import sys

import numpy as np
import torch
import transformers

transformers.logging.set_verbosity_error()
transformers.logging.disable_progress_bar()


def logits(directory: str, reference: str) -> np.ndarray:
    inputs = np.load(reference)
    fields = ["input_ids", "attention_mask"]
    config = transformers.AutoConfig.from_pretrained(directory)
    if config.is_encoder_decoder:
        kind, fields = transformers.AutoModelForSeq2SeqLM, [*fields, "decoder_input_ids"]
    else:
        kind, fields = transformers.AutoModelForCausalLM, [*fields, "position_ids"]
    model, loading = kind.from_pretrained(
        directory, dtype=torch.float32, attn_implementation="eager", output_loading_info=True
    )
    problems = {name: found for name, found in loading.items() if found}
    assert not problems, f"{directory}: {problems}"
    with torch.no_grad():
        given = {name: torch.as_tensor(inputs[name]) for name in fields}
        return model.eval()(**given).logits.numpy()


if __name__ == "__main__":
    pairs = [argument.split("=") for argument in sys.argv[2:]]
    np.savez(sys.argv[1], **{directory: logits(directory, path) for directory, path in pairs})
