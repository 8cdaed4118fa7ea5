"""Runs where PEFT is installed: puts adapters that we wrote on a model and saves its logits.

Usage: worker_peft.py OUTPUT.npz MODEL=ADAPTERS ...
Each MODEL is a folder of tests/golden/hf, whose inputs are used.
"""

import sys
from pathlib import Path

import numpy as np
import torch
import transformers
from peft import PeftModel


def base_model(directory: Path) -> tuple[torch.nn.Module, str]:
    """Returns a model in float32, and PEFT's name for its kind."""
    if transformers.AutoConfig.from_pretrained(directory).is_encoder_decoder:
        kind, task = transformers.AutoModelForSeq2SeqLM, "SEQ_2_SEQ_LM"
    else:
        kind, task = transformers.AutoModelForCausalLM, "CAUSAL_LM"
    model = kind.from_pretrained(directory, dtype=torch.float32, attn_implementation="eager")
    return model.eval(), task


def logits(model: torch.nn.Module, directory: Path) -> np.ndarray:
    """Returns the logits for the inputs in a folder's reference.npz."""
    inputs = np.load(directory / "reference.npz")
    fields = [name for name in _FIELDS if name in inputs]
    with torch.no_grad():
        return model(**{name: torch.as_tensor(inputs[name]) for name in fields}).logits.numpy()


_FIELDS = ("input_ids", "attention_mask", "position_ids", "decoder_input_ids")

if __name__ == "__main__":
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    found = {}
    for argument in sys.argv[2:]:
        folder, adapters = map(Path, argument.split("="))
        adapted = PeftModel.from_pretrained(base_model(folder)[0], adapters).eval()
        found[folder.name] = logits(adapted, folder)
    np.savez(sys.argv[1], **found)
