"""From tasks to batches: mixing, packing, and the order of examples."""
