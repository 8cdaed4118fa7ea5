"""Explanations and corrections rated by people, or by a model as judge, without their sources."""
