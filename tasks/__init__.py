"""Tasks and mixtures, one file a data set.

The library loads this package as `tlm_jax_tasks`, whatever else is called `tasks`; that is the name
to import its modules by.
"""

if __name__ == "tasks":
    # Plain `import tasks` in a checkout: the same modules under this name, and all of it in SeqIO.
    import sys

    import tlm_jax.seqio_tasks  # noqa: F401

    for _name, _module in list(sys.modules.items()):
        if _name.partition(".")[0] == "tlm_jax_tasks":
            sys.modules[_name.replace("tlm_jax_tasks", "tasks", 1)] = _module
