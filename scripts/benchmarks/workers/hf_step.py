"""The transformers train step (torch, AdamW) for the train_step benchmark; answers in JSON."""

import json
import resource
import sys
import time

import torch
import transformers


def main(cores: int, rows: int, inputs: int, targets: int) -> None:
    torch.set_num_threads(cores)
    torch.manual_seed(0)
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
        dropout_rate=0.0,
        decoder_start_token_id=0,
    )
    model = transformers.T5ForConditionalGeneration(config).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4)
    batch = {
        "input_ids": torch.randint(2, 32000, (rows, inputs)),
        "labels": torch.randint(2, 32000, (rows, targets)),
    }
    for line in sys.stdin:
        question = line.strip()
        if question == "step":
            start, cpu_start = time.perf_counter(), time.process_time()
            optimizer.zero_grad(set_to_none=True)
            model(**batch).loss.backward()
            optimizer.step()
            answer = {
                "seconds": time.perf_counter() - start,
                "cpu_seconds": time.process_time() - cpu_start,
            }
        else:
            answer = {
                "describe": f"torch {torch.__version__}, "
                f"transformers {transformers.__version__}, AdamW",
                "resident_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
            }
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
