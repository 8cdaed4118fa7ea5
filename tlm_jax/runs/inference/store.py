"""Samples on disk: appended line by line, so that a killed run loses none and repeats none."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from tlm_jax.errors import UserError, system_reason

Key = tuple[str, int]
"""A prompt's id and the number of the sample."""

_SETTINGS, _PARTS, _MERGED = "settings.json", "parts", "samples.jsonl"
_SYNC_SECONDS = 5.0


class SampleStore:
    """The samples of a run in OUTPUT_DIR.

    - `settings.json`: what decides the samples; another run there must have the same.
    - `parts/host-N.jsonl`: the samples of one host in the order in which they were done.
    - `parts/failed-N.json`: the samples that this host's last whole run did not get, and why.
    - `samples.jsonl`: all of them in the order of the prompts, once each is there or has failed.

    A context manager. Each host has its own; hosts may come and go between runs.
    """

    def __init__(self, directory: Path, host_index: int = 0):
        """Opens the directory, and this host's file for itself alone.

        Raises:
          UserError: it cannot be made, or another process writes the samples of this host.
        """
        self._directory = directory
        self._path = directory / _PARTS / f"host-{host_index:05d}.jsonl"
        self._synced = time.monotonic()
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(
                f"OUTPUT_DIR {directory} cannot be made: {system_reason(error)}"
            ) from error
        self._file, self._length = self._open()

    @property
    def merged_path(self) -> Path:
        """Where all samples lie in the order of the prompts, once they are complete."""
        return self._directory / _MERGED

    def __enter__(self) -> SampleStore:
        return self

    def __exit__(self, *unused: object) -> None:
        os.close(self._file)

    def check_settings(self, settings: Mapping[str, Any]) -> None:
        """Notes what decides the samples, or checks that it is what an earlier run noted.

        Raises:
          UserError: a setting differs; it is named with both values.
        """
        path = self._directory / _SETTINGS
        wanted = json.loads(json.dumps(settings))
        if not path.exists():
            self._write_whole(path, _as_json(wanted, indent=2) + "\n")
            return
        try:
            found = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise UserError(f"{path} cannot be read ({error}); choose another OUTPUT_DIR") from None
        for name in {**wanted, **found}:
            if wanted.get(name) != found.get(name):
                raise UserError(
                    f"{self._directory} holds samples made with {name} "
                    f"{_shown(found.get(name))}, this run has {_shown(wanted.get(name))}. Set it "
                    "as it was, or choose another OUTPUT_DIR."
                )

    def done(self) -> set[Key]:
        """Returns the samples that are there, of all hosts."""
        return {_key(sample) for _, sample in self._samples()}

    def append(self, sample: Mapping[str, Any]) -> None:
        """Writes one sample, with fields `id` and `sample`.

        Raises:
          UserError: the disk is full or refuses; the file ends with the sample before.
        """
        line = (_as_json(sample) + "\n").encode("utf-8")
        try:
            written = 0
            while written < len(line):
                written += os.write(self._file, line[written:])
            self._length += len(line)
            if time.monotonic() - self._synced > _SYNC_SECONDS:
                os.fsync(self._file)
                self._synced = time.monotonic()
        except OSError as error:
            os.ftruncate(self._file, self._length)
            raise self._refusal(self._path, error) from error

    def merge(self, keys: Sequence[Key], failed: Mapping[Key, str] | None = None) -> Path | None:
        """Writes all samples in the order of `keys`; None where some are still to be drawn.

        One that failed holds back none of the others: it is left out, and comes in once it is
        there. Samples stay on disk: only the places of their lines are held in memory.

        Args:
          keys: of all samples that are wanted.
          failed: those that this host asked for in vain, and why.

        Raises:
          UserError: the file cannot be written.
        """
        self._note_failed(failed or {})
        places = {_key(sample): place for place, sample in self._samples()}
        given_up = self._failed()
        if any(key not in places and key not in given_up for key in keys):
            return None
        keys = [key for key in keys if key in places]
        if not keys:
            return None
        files = {path: path.open("rb") for path in {places[key][0] for key in keys}}
        unfinished = self.merged_path.with_name(f".{_MERGED}.{os.getpid()}")
        try:
            with unfinished.open("wb") as out:
                for key in keys:
                    path, start = places[key]
                    files[path].seek(start)
                    out.write(files[path].readline())
                out.flush()
                os.fsync(out.fileno())
            unfinished.replace(self.merged_path)
        except OSError as error:
            unfinished.unlink(missing_ok=True)
            raise self._refusal(self.merged_path, error) from error
        finally:
            for file in files.values():
                file.close()
        return self.merged_path

    def write_summary(self, name: str, summary: Mapping[str, Any]) -> Path:
        """Writes a JSON file beside the samples; returns where."""
        path = self._directory / name
        self._write_whole(path, _as_json(summary, indent=2) + "\n")
        return path

    def samples(self) -> Iterator[tuple[Key, dict[str, Any]]]:
        """Yields every sample of every host, in no order to rely on."""
        for _, sample in self._samples():
            yield _key(sample), sample

    def _samples(self) -> Iterator[tuple[tuple[Path, int], dict[str, Any]]]:
        """Yields (file, start of the line) and the sample; of two with one key the first."""
        seen: set[Key] = set()
        for path in sorted(self._path.parent.glob("host-*.jsonl")):
            start = 0
            with path.open("rb") as file:
                for number, line in enumerate(file, start=1):
                    place, start = (path, start), start + len(line)
                    if not line.endswith(b"\n"):
                        break  # torn by a kill, or being written by another host right now
                    sample = _parsed(line, path, number)
                    if _key(sample) not in seen:
                        seen.add(_key(sample))
                        yield place, sample

    def _note_failed(self, failed: Mapping[Key, str]) -> None:
        path = self._path.with_name(f"failed-{self._path.stem.removeprefix('host-')}.json")
        if failed:
            rows = [{"id": name, "sample": n, "reason": why} for (name, n), why in failed.items()]
            self._write_whole(path, _as_json(rows, indent=2) + "\n")
        else:
            path.unlink(missing_ok=True)

    def _failed(self) -> set[Key]:
        """Returns the samples that some host asked for in vain."""
        found: set[Key] = set()
        for path in self._path.parent.glob("failed-*.json"):
            # A file that is damaged, or was just deleted, says nothing.
            with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
                found |= {_key(one) for one in json.loads(path.read_text(encoding="utf-8"))}
        return found

    def _open(self) -> tuple[int, int]:
        """Opens this host's file for appending; cuts off a last line that was torn by a kill."""
        try:
            file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o666)
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise UserError(
                    f"another process is writing {self._path}; wait for it, or give each host its "
                    "HOST_INDEX of NUM_HOSTS"
                ) from None
            length = os.fstat(file).st_size
            whole = _whole_lines(file, length)
            if whole < length:
                os.ftruncate(file, whole)
            return file, whole
        except OSError as error:
            raise self._refusal(self._path, error) from error

    def _write_whole(self, path: Path, text: str) -> None:
        unfinished = path.with_name(f".{path.name}.{os.getpid()}")
        try:
            unfinished.write_text(text, encoding="utf-8")
            unfinished.replace(path)
        except OSError as error:
            unfinished.unlink(missing_ok=True)
            raise self._refusal(path, error) from error

    def _refusal(self, path: Path, error: OSError) -> UserError:
        return UserError(
            f"{path} cannot be written ({system_reason(error)}). All samples so far are safe: "
            "free some space and give the same command again."
        )


def _whole_lines(file: int, length: int) -> int:
    """Returns the length up to and with the last newline."""
    end = length
    while end > 0:
        start = max(0, end - (1 << 16))
        found = os.pread(file, end - start, start).rfind(b"\n")
        if found >= 0:
            return start + found + 1
        end = start
    return 0


def _parsed(line: bytes, path: Path, number: int) -> dict[str, Any]:
    try:
        sample = json.loads(line)
        _key(sample)
        return sample
    except (ValueError, KeyError, TypeError, RecursionError):
        raise UserError(
            f"{path}, line {number} is no sample; delete that line and give the same command again"
        ) from None


def _key(sample: Mapping[str, Any]) -> Key:
    return str(sample["id"]), int(sample["sample"])


def _as_json(value: Any, indent: int | None = None) -> str:
    """Returns JSON that can be written as UTF-8, halves of surrogate pairs as escapes."""
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, indent=indent)
    if any("\ud800" <= letter <= "\udfff" for letter in text):
        return json.dumps(value, allow_nan=False, indent=indent)
    return text


def _shown(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 80 else text[:77] + "..."
