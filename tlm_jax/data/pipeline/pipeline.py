"""The input pipeline: batches in a global order that is the same on any number of hosts."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np

from tlm_jax.data.pipeline.chosen_converter import converter_for
from tlm_jax.data.pipeline.config import PipelineConfig, check_division
from tlm_jax.data.pipeline.mixing import ExampleOrder
from tlm_jax.data.pipeline.prefetch import Prefetcher
from tlm_jax.data.pipeline.rows import BatchRows, PackedRows, RowPlan, UnpackedRows
from tlm_jax.data.pipeline.statistics import PipelineStatistics
from tlm_jax.data.pipeline.store import OrderedReader, open_readers
from tlm_jax.data.sources import Example
from tlm_jax.data.teachers.reader import join_readers
from tlm_jax.data.teachers.tokens import TeacherTokensReader
from tlm_jax.errors import UserError

AllGather = Callable[[np.ndarray], np.ndarray]
"""From this host's array to those of all hosts, stacked in the order of the hosts."""


@dataclasses.dataclass(frozen=True)
class HostBatch:
    """This host's rows of one global batch.

    Attributes:
      arrays: model features, [B / hosts, ...].
      example_ids: the examples in each row; none in a row of padding.
      records: the examples of each row as their source gave them.
    """

    arrays: dict[str, np.ndarray]
    example_ids: tuple[tuple[str, ...], ...]
    records: tuple[tuple[Example, ...], ...]


class Pipeline:
    """Iterates over HostBatch; can say where it stands, and go there again.

        with Pipeline(config) as pipeline:
            for batch in pipeline: ...
            saved = pipeline.state()

    `mixing.ExampleOrder` gives the order of the examples and `rows.RowPlan` the rows they go to;
    both are the same on any number of hosts and can be entered anywhere.
    """

    def __init__(
        self,
        config: PipelineConfig,
        *,
        host_index: int = 0,
        num_hosts: int = 1,
        all_gather: AllGather | None = None,
        prefetch_batches: int = 2,
    ):
        """Opens the data sets; tokenizes nothing yet (but a SeqIO task from elsewhere, wholly).

        Args:
          config: what decides the batches.
          host_index: this host, from 0.
          num_hosts: each gets an equal block of the rows of every batch.
          all_gather: with several hosts and packing, called by `state()`, on all hosts together.
          prefetch_batches: batches made ahead of time, in a thread.

        Raises:
          UserError: an unknown task or split, a feature without a length, or a batch that cannot
            be divided among the hosts.
        """
        check_division(config, num_hosts)
        self.config = config
        self.statistics = PipelineStatistics()
        self._num_hosts = num_hosts
        self._all_gather = all_gather
        self._prefetch_batches = prefetch_batches
        self._prefetcher: Prefetcher[tuple[HostBatch, BatchRows]] | None = None

        rates, readers = open_readers(
            config.mixture_or_task_name,
            config.split,
            feature_lengths=config.feature_lengths,
            vocabulary=config.vocabulary,
            cache_dir=config.cache_dir,
            data=config.data,
            reading=config.reading,
        )
        self.vocabulary = next(iter(readers.values())).vocabulary
        self.teacher, readers = join_readers(readers, config.teacher, self.vocabulary)
        if config.teacher_tokens is not None:
            own = config.teacher_tokens
            lengths = config.feature_lengths
            readers = {name: TeacherTokensReader(r, own, lengths) for name, r in readers.items()}
        self.converter = converter_for(config, readers, self.teacher)
        self.order = ExampleOrder(
            rates=rates,
            sizes={name: reader.num_examples for name, reader in readers.items()},
            seed=config.seed,
            shuffle=config.shuffle,
            num_epochs=config.num_epochs,
            max_examples=config.max_examples,
        )
        self._host_rows = _block(config.batch_size, host_index, num_hosts)
        self._local_shards = _block(config.num_shards, host_index, num_hosts)
        self._plan = self._make_plan(OrderedReader(self.order, readers))
        self._step = 0
        self._places = self._plan.start()

    @property
    def num_batches(self) -> int | None:
        """How many batches there are in all; None if endless, or packed (known only at the end)."""
        if self.order.total is None or self.config.pack:
            return None
        return -(-self.order.total // self.config.batch_size)

    def __iter__(self) -> Iterator[HostBatch]:
        return self

    def __next__(self) -> HostBatch:
        self.start()
        assert self._prefetcher is not None
        waited_before = self._prefetcher.wait_seconds
        try:
            batch, source = next(self._prefetcher)
        finally:
            self.statistics.wait_seconds += self._prefetcher.wait_seconds - waited_before
        self._step += 1
        self._places = source.places
        self._count(source)
        return batch

    def __enter__(self) -> Pipeline:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def start(self) -> None:
        """Starts making batches, if that has not begun; useful while the step is compiled."""
        if self._prefetcher is None:
            made = self._make_batches(self._step, self._places)
            self._prefetcher = Prefetcher(made, self._prefetch_batches)

    def state(self) -> dict[str, Any]:
        """Returns where the next batch stands, ready for JSON; the same on every host.

        With packing on several hosts this calls `all_gather`, so all hosts must call it together.
        """
        places = self._places
        if self.config.pack and self._num_hosts > 1:
            if self._all_gather is None:
                raise ValueError("state() with packing on several hosts needs all_gather")
            places = np.asarray(self._all_gather(places)).reshape(-1, 2)
        return {"step": self._step, "order": self._order_key(), "places": places.tolist()}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Goes to where `state()` was called, on this or any other number of hosts.

        Raises:
          UserError: the state is of a run with another order of examples; the message names the
            first difference.
        """
        now, then = self._order_key(), state["order"]
        for name in now:
            if now[name] != then.get(name):
                raise UserError(
                    f"cannot continue the data at step {state['step']}: {name} was "
                    f"{then.get(name)!r} in the checkpoint and is {now[name]!r} now; set it back, "
                    "or start in an empty MODEL_DIR."
                )
        self.close()
        self._step = int(state["step"])
        if self.config.pack:
            self._places = np.array(state["places"], np.int64)[list(self._local_shards)]

    def close(self) -> None:
        """Stops the prefetching thread; the position stays, and iterating starts a new one."""
        if self._prefetcher is not None:
            self._prefetcher.close()
            self._prefetcher = None

    def _make_plan(self, read: OrderedReader) -> RowPlan:
        config = self.config
        if not config.pack:
            return UnpackedRows(
                read, self.converter, self.order.total, config.batch_size, self._host_rows
            )
        return PackedRows(
            read,
            self.converter,
            self.order.total,
            num_shards=config.num_shards,
            local_shards=self._local_shards,
            rows_per_shard=config.batch_size // config.num_shards,
            window=config.packing_window,
            seed=config.seed,
        )

    def _make_batches(self, step: int, places: np.ndarray) -> Iterator[tuple[HostBatch, BatchRows]]:
        num_rows = len(self._host_rows)
        for source in self._plan.batches(step, places):
            arrays = self.converter.convert(
                source.prepared, source.rows, num_rows, packed=self.config.pack
            )
            if self.config.teacher_tokens is not None:
                own = self.config.teacher_tokens
                arrays |= own.features(source.prepared, source.rows, num_rows)
                cut = {**source.truncated, **own.truncated(source.prepared)}
                source = dataclasses.replace(source, truncated=cut)
            examples = source.prepared.examples
            ids: list[list[str]] = [[] for _ in range(num_rows)]
            records: list[list[Example]] = [[] for _ in range(num_rows)]
            for row, example_id, record in zip(source.rows, examples.ids, examples.records):
                ids[row].append(example_id)
                records[row].append(record)
            yield HostBatch(arrays, tuple(map(tuple, ids)), tuple(map(tuple, records))), source

    def _count(self, source: BatchRows) -> None:
        counts = self.statistics
        counts.batches += 1
        counts.examples += len(source.prepared)
        used = source.prepared.axes.sum(axis=0)
        for axis, tokens, length in zip(self.converter.axes, used, self.converter.row_lengths):
            counts.tokens[axis] = counts.tokens.get(axis, 0) + int(tokens)
            room = length * len(self._host_rows)
            counts.capacity[axis] = counts.capacity.get(axis, 0) + room
        for name, count in source.truncated.items():
            counts.truncated[name] = counts.truncated.get(name, 0) + count
        unknown = self.vocabulary.unk_id
        for name in self.config.feature_lengths if unknown is not None else ():
            tokens = source.prepared.examples.features[name]
            owners = np.repeat(np.arange(len(tokens)), tokens.lengths)[tokens.values == unknown]
            counts.unknown[name] = counts.unknown.get(name, 0) + len(np.unique(owners))

    def _order_key(self) -> dict[str, Any]:
        """Returns, for JSON, everything that decides which example stands where."""
        config, order = self.config, self.order
        key: dict[str, Any] = {
            "mixture or task": config.mixture_or_task_name,
            "split": config.split,
            "rates": {name: round(rate, 9) for name, rate in order.rates.items()},
            "numbers of examples": dict(order.sizes),
            "seed": config.seed,
            "shuffle": config.shuffle,
            "batch size": config.batch_size,
            "num_epochs": config.num_epochs,
            "max_examples": config.max_examples,
            "packing": config.pack,
        }
        if self.teacher is not None:
            key["teacher's rows"] = self.teacher.fingerprint
        if config.pack:
            key |= {
                "feature lengths": dict(config.feature_lengths),
                "architecture": config.architecture,
                "vocabulary": self.vocabulary.fingerprint,
                "packing shards": config.num_shards,
                "packing window": config.packing_window,
            }
        return key


def _block(size: int, host_index: int, num_hosts: int) -> range:
    """Returns this host's equal part of `range(size)`."""
    return range(host_index * size // num_hosts, (host_index + 1) * size // num_hosts)
