"""Generation by CTranslate2 (float32) for the decode benchmark; answers in JSON."""

import json
import sys
import time
from pathlib import Path

import ctranslate2
from ctranslate2.converters import TransformersConverter


class Tokens:
    """Stands for a tokenizer, which the converter asks for names: id 5 is `5`."""

    bos_token, pad_token, unk_token = "0", "0", "1"

    def __init__(self, size: int):
        self._size = size
        self.eos_token = str(size - 1)

    def get_vocab(self) -> dict[str, int]:
        """Returns the id of each name."""
        return {str(number): number for number in range(self._size)}

    def convert_ids_to_tokens(self, number: int) -> str:
        """Returns the name of an id."""
        return str(number)


class Converter(TransformersConverter):
    """Converts a model that has no tokenizer."""

    def load_tokenizer(self, tokenizer_class: object, model_name_or_path: str, **_: object):
        config = json.loads((Path(model_name_or_path) / "config.json").read_text())
        return Tokens(config["vocab_size"])


def main(cores: str, directory: str, new: str) -> None:
    source, converted = Path(directory) / "hf", Path(directory) / "ct2"
    Converter(str(source)).convert(str(converted), force=True)
    encodes = "encoder" in (source / "config.json").read_text()
    threads = {"device": "cpu", "compute_type": "float32", "intra_threads": int(cores)}
    prompts = [
        [str(number) for number in prompt]
        for prompt in json.loads((Path(directory) / "prompts.json").read_text())
    ]
    if encodes:
        network = ctranslate2.Translator(str(converted), **threads)
        limits = {"max_decoding_length": int(new), "min_decoding_length": int(new)}
        generate = network.translate_batch
    else:
        network = ctranslate2.Generator(str(converted), **threads)
        limits = {"max_length": int(new), "min_length": int(new), "include_prompt_in_result": False}
        generate = network.generate_batch
    sampled = {"num_hypotheses": 8, "sampling_topk": 0, "sampling_temperature": 1.0}
    for line in sys.stdin:
        case = line.strip()
        inputs, options = (prompts[:2], sampled) if case == "shared" else (prompts, {})
        start, cpu_start = time.perf_counter(), time.process_time()
        results = generate(inputs, beam_size=1, **limits, **options)
        seconds, cpu_seconds = time.perf_counter() - start, time.process_time() - cpu_start
        texts = [
            text
            for result in results
            for text in (result.hypotheses if encodes else result.sequences)
        ]
        answer = {
            "tokens": sum(map(len, texts)),
            "seconds": seconds,
            "cpu_seconds": cpu_seconds,
        }
        if case == "ids":
            answer["ids"] = [[int(token) for token in text] for text in texts]
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
