"""Packages of the wheel: tlm_jax, and in tlm_jax/shipped what lies at the top of a checkout."""

from setuptools import find_packages, setup

SHIPPED = {f"tlm_jax.shipped.{name}": name for name in ("gin_configs", "tasks")}

setup(packages=[*find_packages(include=["tlm_jax*"]), *SHIPPED], package_dir=SHIPPED)
