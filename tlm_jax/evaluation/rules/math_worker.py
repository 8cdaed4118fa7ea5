"""The process that compares mathematics: a JSON question a line, a JSON reply a line.

The only module that imports math-verify. Started by `math_process`, with the limits in seconds
and bytes as its arguments.
"""

from __future__ import annotations

import json
import resource
import signal
import sys


def main(limit_seconds: float, memory_bytes: int) -> None:
    """Answers until its input ends, or a question takes too long, which kills the process."""
    resource.setrlimit(resource.RLIMIT_AS, (memory_bytes, memory_bytes))
    # The kernel's own action, so that it also ends what runs in C. Processor time, so that a busy
    # machine gives the same verdicts.
    signal.signal(signal.SIGPROF, signal.SIG_DFL)
    for line in sys.stdin:
        question = json.loads(line)
        _imported()
        signal.setitimer(signal.ITIMER_PROF, limit_seconds)
        reply = _reply(question["gold"], question["answer"])
        signal.setitimer(signal.ITIMER_PROF, 0)
        print(json.dumps(reply), flush=True)


def _imported() -> None:
    # Once, and outside the limit of the first question.
    import math_verify  # noqa: F401


def _reply(gold: str, answer: str) -> dict[str, object]:
    from math_verify import verify

    try:
        # math-verify's own limits are of another kind, and raise inside of it.
        return {"same": bool(verify(_parsed(gold), _parsed(answer), timeout_seconds=None))}
    except MemoryError:
        return {"problem": "the comparison needed more memory than allowed"}
    except RecursionError:
        return {"problem": "an answer is nested too deeply"}
    except Exception as error:
        return {"problem": f"math-verify failed ({type(error).__name__})"}


def _parsed(answer: str) -> list:
    from math_verify import parse

    # In a box it is taken as a whole; a sentence is not LaTeX, and is searched for its answer.
    for text in (f"\\boxed{{{answer}}}", answer):
        found = parse(text, parsing_timeout=None)  # pyright: ignore[reportArgumentType]
        if any(not isinstance(part, str) for part in found):
            return found
    return []


if __name__ == "__main__":
    main(float(sys.argv[1]), int(sys.argv[2]))
