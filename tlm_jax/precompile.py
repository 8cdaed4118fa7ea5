"""Compiles a run's train step for a TPU slice that is not here, and says whether it fits."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from tlm_jax.errors import UserError
from tlm_jax.runs.command_line import arguments
from tlm_jax.runs.command_line import configuration as command_line

if TYPE_CHECKING:
    from tlm_jax.runs.training.config import RunConfig
    from tlm_jax.runs.training.parts import Parts
    from tlm_jax.sharding.tpu_topology import TpuTopology
    from tlm_jax.training.ahead_of_time import CompiledStep


def parser() -> arguments.Parser:
    """Returns the parser of the command line."""
    made = arguments.configured_parser(
        "precompile",
        "Compile the train step of a configuration for a TPU slice, on a machine without TPUs, and "
        "print the memory that each device needs. Fails if it does not fit.",
        examples=("precompile --gin_file=gin_configs/runs/gsm8k_t5_xxl.gin --topology=v5p:2x2x2",),
    )
    made.add_argument(
        "--topology",
        required=True,
        metavar="NAME",
        help="GENERATION:SIZES in chips: v4:4x4x4, v5e:8x8, v5p:4x4x4, v6e:8x8, tpu7x:2x2x2",
    )
    return made


def main(argv: Sequence[str]) -> int:
    """Compiles, prints what a device needs, and returns 0 if that fits."""
    known, bindings = arguments.parse_settings(parser(), argv)

    from tlm_jax.runs.training.config import RunConfig

    run, configuration = command_line.load(RunConfig, known, bindings)
    if known.dry_run:
        print(configuration)
        return 0

    import jax

    # No device of this machine is used, and libtpu would take time searching for some.
    jax.config.update("jax_platforms", "cpu")

    from tlm_jax.runs.training.parts import abstract_batch, build_parts
    from tlm_jax.runs.training.step_flops import step_flops
    from tlm_jax.sharding.tpu_topology import tpu_topology
    from tlm_jax.training.ahead_of_time import DoesNotFitError, compile_ahead

    topology = tpu_topology(known.topology)
    parts = build_parts(run, topology.devices)
    batch = abstract_batch(run, parts.batch_sharding, parts.teacher)
    print(_headline(run, parts, topology), flush=True)
    try:
        compiled = compile_ahead(
            parts.train_step, parts.abstract_state, batch, parts.abstract_frozen()
        )
    except DoesNotFitError as error:
        raise UserError(f"does not fit {topology.name}: {error}. {_REMEDY}") from error
    print(_report(compiled, topology, step_flops(run, batch, parts.teacher)))
    needed = compiled.memory.peak + compiled.memory.generated_code
    if needed > topology.usable_bytes_per_device:
        raise UserError(f"does not fit {topology.name}. {_REMEDY}")
    return 0


_REMEDY = (
    "Use more chips along fsdp or tensor (mesh.MeshShape), more MICRO_BATCHES, a smaller "
    "BATCH_SIZE, or REMAT_POLICY='full'"
)


def _headline(run: RunConfig, parts: Parts, topology: TpuTopology) -> str:
    import jax

    from tlm_jax import models, trees
    from tlm_jax.runs.training.trainable import of_model

    leaves = trees.flatten(models.abstract_params(run.model)).values()
    parameters = sum(leaf.size for leaf in leaves)
    additions = ""
    if run.lora is not None:
        adapters = jax.tree.leaves(of_model(parts.abstract_state.params))
        additions = f", {sum(leaf.size for leaf in adapters):,} more in adapters that are trained,"
    if parts.teacher is not None:
        additions += f" beside its teacher ({parts.teacher.describe()})"
    mesh = " x ".join(f"{name} {size}" for name, size in parts.mesh.shape.items())
    lengths = " + ".join(f"{name} {length}" for name, length in run.feature_lengths.items())
    return (
        f"{parameters / 1e9:.2f}B parameters{additions} on {topology.name}: "
        f"{len(topology.devices)} devices, mesh {mesh}\n"
        f"batch {run.batch_size} rows of {lengths} tokens in {run.micro_batches} micro-batches, "
        f"{run.model.dtype} compute, remat {run.model.remat_policy}, "
        f"{type(run.optimizer).__name__}"
    )


def _report(compiled: CompiledStep, topology: TpuTopology, flops: float) -> str:
    memory = compiled.memory
    usable = topology.usable_bytes_per_device
    lines = [
        f"lowered in {compiled.lower_seconds:.1f} s, compiled in {compiled.compile_seconds:.1f} s",
        f"model FLOPs a step: {flops:.3g} in all, {flops / len(topology.devices):.3g} a device",
        "memory of one device, GiB",
    ]
    for label, size in (
        ("arguments: state and batch", memory.arguments),
        ("outputs: new state, metrics", memory.outputs),
        ("  of them in arguments' place", memory.aliased),
        ("temporary buffers", memory.temporary),
        ("generated code", memory.generated_code),
        ("peak", memory.peak),
    ):
        lines.append(f"  {label:<30}{_gib(size):>9.2f}")
    share = (memory.peak + memory.generated_code) / usable
    lines.append(
        f"peak and code are {share:.0%} of the {_gib(usable):.2f} GiB that a program may use "
        f"({topology.generation.hbm_gib} GiB a chip)"
    )
    return "\n".join(lines)


def _gib(size: int) -> float:
    return size / 2**30


if __name__ == "__main__":
    command_line.run_main(main)
