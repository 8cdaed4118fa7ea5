"""The commands of `tlm_jax.cache_teacher` that fill a cache: their arguments."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from tlm_jax.runs.command_line import arguments
from tlm_jax.runs.command_line import configuration as command_line


def score(argv: Sequence[str]) -> int:
    """Score given solutions with a teacher checkpoint."""
    parser = arguments.configured_parser(
        "cache_teacher score",
        "Keep a teacher's distributions over the targets of a task or over solutions in a JSON "
        "Lines file.",
        default_file="gin_configs/cache_teacher.gin",
        examples=(
            "cache_teacher score MODEL=smollm2 SOLUTIONS=samples/samples.jsonl OUTPUT_DIR=cache "
            "ONLY_CORRECT=True ENCODING=sampled",
        ),
    )
    known, bindings = arguments.parse_settings(parser, argv)

    from tlm_jax.runs.cache_teacher.config import ScoreConfig

    run, configuration = command_line.load(ScoreConfig, known, bindings)
    if known.dry_run:
        print(configuration)
        return 0
    from tlm_jax.runs.command_line import environment

    environment.prepare(together=False)
    from tlm_jax.runs.cache_teacher.scoring import run_scoring

    run_scoring(run)
    return 0


def import_captured(argv: Sequence[str]) -> int:
    """Fill a cache from servers' answers, Codex dumps or samples with candidates."""
    from tlm_jax.runs.cache_teacher.import_config import SOURCES, ImportConfig
    from tlm_jax.runs.cache_teacher.importing import run_import

    parser = arguments.Parser(
        "cache_teacher import",
        "Make a cache of what was captured of a teacher, and beside it examples.jsonl, records to "
        "train on.",
        examples=(
            "cache_teacher import openai answers.jsonl --teacher=gpt --output_dir=cache",
            "cache_teacher import codex_pickles dumps --teacher=code-davinci-002 "
            "--output_dir=cache",
        ),
    )
    parser.add_argument("source", choices=SOURCES, help="what the files are")
    parser.add_argument(
        "files",
        nargs="+",
        type=Path,
        help="JSON Lines (openai, samples), text dumps (codex), a directory (codex_pickles)",
    )
    parser.add_argument("--output_dir", required=True, type=Path, help="the cache")
    parser.add_argument("--teacher", required=True, help="its name, such as code-davinci-002")
    parser.add_argument(
        "--questions", type=Path, help="openai: JSON Lines with id, question, answer, kind, options"
    )
    parser.add_argument(
        "--vocabulary", help="samples: the tokenizer of the model that drew them, or its directory"
    )
    parser.add_argument(
        "--only_correct",
        action="store_true",
        help="leave out solutions that are wrong or cannot be graded (always so for Codex)",
    )
    parser.add_argument("--grading_rule", help="a rule of tlm_jax.grade; else the answer's kind")
    parser.add_argument(
        "--keep_unfinished",
        action="store_true",
        help="keep solutions that a limit of their length cut off",
    )
    parser.add_argument(
        "--end_token",
        action="append",
        default=[],
        dest="end_tokens",
        metavar="NAME",
        help="openai: a token that ends a text, beside the known ones; may be given several times",
    )
    parser.add_argument(
        "--num_candidates", type=int, help="most candidates a token; default: as many as asked for"
    )
    parser.add_argument("--temperature", type=float, default=1.0, help="of the log-probabilities")
    parser.add_argument("--compression", choices=("none", "zstd"), default="none")
    parser.add_argument("--rows_per_shard", type=int, default=1024)
    parser.add_argument(
        "--runner", help="run as an Apache Beam pipeline on this runner, such as DirectRunner"
    )
    parser.add_argument(
        "--parts", type=int, default=16, help="with --runner: into how many parts the work is cut"
    )
    known, rest = parser.parse_known_args(list(argv))
    if rest and known.runner is None:
        parser.refuse(rest[0])
    fields = dict(vars(known))
    runner, parts = fields.pop("runner"), fields.pop("parts")
    fields |= {"files": tuple(known.files), "end_tokens": tuple(known.end_tokens)}
    config = ImportConfig(**fields)
    if runner is None:
        run_import(config)
    else:
        from tlm_jax.runs.cache_teacher.import_beam import run_on_beam

        run_on_beam(config, runner=runner, parts=parts, options=rest)
    return 0
