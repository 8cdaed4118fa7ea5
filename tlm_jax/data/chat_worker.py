"""The process that runs chat templates, which are programs that come with a model.

Started by `chat`. Jinja's sandbox keeps a template from everything but what it is given; that it
ends, and in how much memory, only the limits of a process do.
"""

from __future__ import annotations

import datetime
import functools
import json
from collections.abc import Callable
from typing import Any, NoReturn

import jinja2
import jinja2.ext
import jinja2.nodes
import jinja2.parser
import jinja2.sandbox

from tlm_jax.system.limited_process import serve

MOST_CHARACTERS = 1 << 24
"""What is longer is no conversation."""


def _reply(question: dict[str, Any]) -> dict[str, Any]:
    """Returns the text, or what is wrong: with the template, or with it and these messages."""
    try:
        text = _compiled(question["source"]).render(
            messages=question["messages"],
            add_generation_prompt=question["add_generation_prompt"],
            **question["special_tokens"],
        )
    except jinja2.TemplateSyntaxError as error:
        return {"problem": f"is damaged: line {error.lineno}: {_line(error)}"}
    except jinja2.TemplateError as error:
        return {"problem": f"refuses these messages: {_line(error)}"}
    except MemoryError:
        return {"problem": "needs more memory for these messages than it may have"}
    except RecursionError:
        return {"problem": "calls itself without an end on these messages"}
    # A template may raise whatever Python's operators and methods of text raise.
    except Exception as error:
        return {"problem": f"fails on these messages: {_line(error)}"}
    if len(text) > MOST_CHARACTERS:
        return {
            "problem": f"writes {len(text):,} characters for these messages, more than "
            f"{MOST_CHARACTERS:,}"
        }
    return {"text": text}


def _line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0][:300] if lines else type(error).__name__


class _Generation(jinja2.ext.Extension):
    """Reads `{% generation %}`, which marks for training what the assistant writes, as a block.

    As in transformers, names that are set within it are not known behind it.
    """

    tags = {"generation"}  # noqa: RUF012 (as the class above declares it)

    def parse(self, parser: jinja2.parser.Parser) -> jinja2.nodes.Node:
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        return jinja2.nodes.CallBlock(self.call_method("_written"), [], [], body).set_lineno(line)

    def _written(self, caller: Callable[[], str]) -> str:
        return caller()


@functools.lru_cache(maxsize=16)
def _compiled(source: str) -> Any:
    environment = jinja2.sandbox.ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[jinja2.ext.loopcontrols, _Generation]
    )
    environment.filters["tojson"] = functools.partial(json.dumps, ensure_ascii=False)
    environment.globals["raise_exception"] = _raise
    environment.globals["strftime_now"] = _strftime_now
    return environment.from_string(source)


def _raise(message: str) -> NoReturn:
    raise jinja2.TemplateError(message)


def _strftime_now(form: str) -> str:
    return datetime.datetime.now().strftime(form)


if __name__ == "__main__":
    serve(_reply)
