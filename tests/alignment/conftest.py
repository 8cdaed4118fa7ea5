"""The four tokenizers of the shared folder, and texts to align."""

import pytest
import tokenizers

from tlm_jax.vocabularies import HuggingFaceVocabulary, SentencePieceVocabulary

TEXTS = (
    "If Natalia sold 48 clips in April, she sold 48/2 = 24 clips in May.\n"
    "In total, Natalia sold 48 + 24 = 72 clips in April and May.\nThe answer is 72",
    "First, 1,234.50 - 34.5 = $1200.\n\nThat is 50% of 2400; so <<2400/2=1200>> {x} ~ y.",
    "Tom's été: ½ of 8 ﬁgs is 4…  Two  spaces, a\ttab, 日本語 and 🙂.\n",
    "",
    " ",
    "\n",
    "a",
)
"""GSM8K-like, calculator marks, text that T5 normalises or cannot write, and next to nothing."""


def load_vocabularies(shared_dir, folder):
    """Returns the vocabularies by name; GPT-2's tokenizer.json is made from its two files."""
    files = shared_dir / "fixtures" / "tokenizers"
    gpt2 = tokenizers.Tokenizer(
        tokenizers.models.BPE.from_file(
            str(files / "gpt2" / "vocab.json"), str(files / "gpt2" / "merges.txt")
        )
    )
    gpt2.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    gpt2.decoder = tokenizers.decoders.ByteLevel()
    gpt2.add_special_tokens(["<|endoftext|>"])
    gpt2.save(str(folder / "tokenizer.json"))
    return {
        "t5": SentencePieceVocabulary(str(files / "t5" / "spiece.model"), extra_ids=100),
        "gpt2": HuggingFaceVocabulary(str(folder / "tokenizer.json")),
        "llama2": HuggingFaceVocabulary(str(files / "llama2" / "tokenizer.json")),
        "smollm2": HuggingFaceVocabulary(str(files / "smollm2" / "tokenizer.json")),
    }


@pytest.fixture(scope="session")
def vocabularies(shared_dir, tmp_path_factory):
    return load_vocabularies(shared_dir, tmp_path_factory.mktemp("gpt2"))


@pytest.fixture(scope="session")
def texts():
    return TEXTS
