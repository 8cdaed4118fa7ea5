"""Generation by transformers (torch) for the decode benchmark; answers in JSON."""

import json
import sys
import time

import torch
import transformers


def main(cores: str, model: str, prompt: str, new: str) -> None:
    torch.set_num_threads(int(cores))
    torch.manual_seed(0)
    if model == "t5":
        config = transformers.T5Config(
            vocab_size=32128,
            d_model=512,
            d_kv=64,
            d_ff=1024,
            num_layers=8,
            num_decoder_layers=8,
            num_heads=6,
            feed_forward_proj="gated-gelu",
            tie_word_embeddings=False,
            decoder_start_token_id=0,
        )
        network = transformers.T5ForConditionalGeneration(config).eval()
    else:
        config = transformers.LlamaConfig(
            vocab_size=32000,
            hidden_size=512,
            intermediate_size=1376,
            num_hidden_layers=8,
            num_attention_heads=8,
        )
        network = transformers.LlamaForCausalLM(config).eval()
    tokens = torch.randint(2, 32000, (8, int(prompt)))
    limits = {"min_new_tokens": int(new), "max_new_tokens": int(new), "pad_token_id": 0}
    for line in sys.stdin:
        sampled = line.strip() == "shared"
        inputs = tokens[:2] if sampled else tokens
        start, cpu_start = time.perf_counter(), time.process_time()
        with torch.inference_mode():
            if sampled:
                network.generate(inputs, do_sample=True, top_k=0, num_return_sequences=8, **limits)
            else:
                network.generate(inputs, do_sample=False, **limits)
        rows = 16 if sampled else 8
        answer = {
            "tokens": rows * int(new),
            "seconds": time.perf_counter() - start,
            "cpu_seconds": time.process_time() - cpu_start,
        }
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
