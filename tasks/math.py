"""MATH: competition mathematics with solutions (Hendrycks et al. 2021).

The uniform training file holds four of the seven subjects (4,589 of 7,500 problems).
"""

from tlm_jax.data.file_records import file_records, official, uniform
from tlm_jax.data.formatted import register_formats
from tlm_jax.data.official.math import read_math

RECORDS = file_records(
    "math",
    "the GitHub project hendrycks/math (archive MATH.tar)",
    {
        "train": [
            uniform("math_train"),
            *official(read_math, "train", "MATH/train", "math/train", "math/train.jsonl"),
            uniform("math_train_4subjects"),
        ],
        "test": [
            uniform("math_test"),
            *official(read_math, "test", "MATH/test", "math/test", "math/test.jsonl"),
        ],
    },
    hold_out_validation=True,
)

register_formats("math", RECORDS, description="Competition mathematics")
