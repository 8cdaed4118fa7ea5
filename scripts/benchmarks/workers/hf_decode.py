"""Generation by transformers (torch) for the decode benchmark; answers in JSON."""

import json
import sys
import time
from pathlib import Path

import torch
import transformers


def main(cores: str, directory: str, new: str) -> None:
    torch.set_num_threads(int(cores))
    torch.manual_seed(0)
    path = Path(directory) / "hf"
    encodes = transformers.AutoConfig.from_pretrained(path).is_encoder_decoder
    kind = transformers.T5ForConditionalGeneration if encodes else transformers.LlamaForCausalLM
    network = kind.from_pretrained(path, dtype=torch.float32).eval()
    tokens = torch.tensor(json.loads((Path(directory) / "prompts.json").read_text()))
    limits = {
        "min_new_tokens": int(new),
        "max_new_tokens": int(new),
        "pad_token_id": 0,
        "attention_mask": None,
    }
    network.generation_config.eos_token_id = None
    for line in sys.stdin:
        case = line.strip()
        inputs = tokens[:2] if case == "shared" else tokens
        limits["attention_mask"] = torch.ones_like(inputs)
        start, cpu_start = time.perf_counter(), time.process_time()
        with torch.inference_mode():
            if case == "shared":
                made = network.generate(
                    inputs, do_sample=True, top_k=0, num_return_sequences=8, **limits
                )
            else:
                made = network.generate(inputs, do_sample=False, **limits)
        answer = {
            "tokens": len(made) * int(new),
            "seconds": time.perf_counter() - start,
            "cpu_seconds": time.process_time() - cpu_start,
        }
        if case == "ids":
            answer["ids"] = made[:, -int(new) :].tolist()
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
