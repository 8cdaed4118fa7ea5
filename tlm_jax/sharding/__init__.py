"""Device meshes and the table from logical axes to mesh axes."""
