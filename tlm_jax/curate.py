"""Curates generated solutions: `python -m tlm_jax.curate IN.jsonl OUT.jsonl`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from tlm_jax.runs.command_line.arguments import Parser


def main(argv: Sequence[str]) -> int:
    """Parses the command line, curates, and prints the counts."""
    arguments = parser().parse(argv)

    # After parsing, so that --help is quick.
    from tlm_jax.data.run_data import RunData
    from tlm_jax.evaluation.curation import Curation
    from tlm_jax.runs.curation import SolutionFields, curate_file, print_counts
    from tlm_jax.system import terminal

    out = Path(arguments.out)
    left_out = Path(arguments.left_out or out.with_name(f"{_stem(out)}.left_out.jsonl"))
    result = curate_file(
        Path(arguments.file),
        out,
        left_out,
        Curation(
            grade=arguments.keep,
            unfinished=arguments.keep_unfinished,
            min_words=arguments.min_words,
            max_words=arguments.max_words,
            distinct=None if arguments.distinct == "none" else arguments.distinct,
            per_question=arguments.per_question,
            seed=arguments.seed,
        ),
        fields=SolutionFields(
            arguments.text, arguments.gold, arguments.question, arguments.options
        ),
        rule=arguments.rule,
        test_sets=arguments.test_set,
        data=RunData(arguments.data_dir),
    )
    print_counts(result, terminal.console())
    print(f"kept      {out}")
    print(f"left out  {left_out}, each with its reason")
    return 0


def _stem(path: Path) -> str:
    return path.name.removesuffix(".jsonl")


def parser() -> Parser:
    """Returns the parser of the command line."""
    result = Parser(
        "curate",
        "Choose among generated solutions what to train on. What is left out goes to a file of its "
        "own, each with its reason: wrong, no answer, cut off, too short or long, of a question "
        "that a test set has, the same as another of its question, more than are wanted.",
        examples=(
            "curate samples/samples.jsonl kept.jsonl --distinct=equations --per_question=4",
            "curate samples/samples.jsonl wrong.jsonl --keep=wrong",
            "curate mine.jsonl kept.jsonl --rule=numeric --text=solution --gold=answer "
            "--test_set=gsm8k_cot_zero_shot:test",
        ),
    )
    result.add_argument("file", metavar="IN", help="JSON Lines, compressed or not")
    result.add_argument("out", metavar="OUT", help="the file of what is kept")
    result.add_argument(
        "--left_out", metavar="FILE", help="of the others (default: OUT with .left_out.jsonl)"
    )
    result.add_argument(
        "--keep",
        default="right",
        choices=("right", "wrong", "any"),
        help="by grade (default: right); wrong are those that found another answer",
    )
    result.add_argument(
        "--rule", metavar="NAME", help="grade anew by this rule; else the field 'correct' counts"
    )
    for name, what in (
        ("text", "the solution (default: text, else rationale)"),
        ("gold", "the right answer, for --rule (default: gold, else answer)"),
        ("question", "what is asked (default: question, else prompt)"),
        ("options", "list of the options of a choice (default: options)"),
    ):
        result.add_argument(f"--{name}", metavar="FIELD", help=what)
    result.add_argument(
        "--keep_unfinished", action="store_true", help="keep solutions that were cut off, too"
    )
    result.add_argument("--min_words", type=int, metavar="N", help="the shortest that is kept")
    result.add_argument("--max_words", type=int, metavar="N", help="the longest that is kept")
    result.add_argument(
        "--distinct",
        default="text",
        choices=("text", "equations", "none"),
        help="which of one question are the same: those with the same words (default), or with "
        "the same equations in the same order",
    )
    result.add_argument(
        "--per_question", type=int, metavar="K", help="at most so many solutions of a question"
    )
    result.add_argument("--seed", type=int, default=0, help="chooses them (default: 0)")
    result.add_argument(
        "--test_set",
        action="append",
        default=[],
        metavar="NAME",
        help="leave out questions of TASK[:SPLIT] or of a file of records; may be repeated",
    )
    result.add_argument("--data_dir", metavar="DIR", help="of the tasks' data files")
    return result


if __name__ == "__main__":
    from tlm_jax.runs.command_line.configuration import run_main

    run_main(main)
