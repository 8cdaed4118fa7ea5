"""The cache of what a teacher said, step by step: compact, keyed by content, checked."""

from tlm_jax.teacher_cache.encodings import ENCODINGS, encoding_by_name
from tlm_jax.teacher_cache.header import Header
from tlm_jax.teacher_cache.hidden import Hidden
from tlm_jax.teacher_cache.reader import TeacherCache
from tlm_jax.teacher_cache.sampled import Sampled, steps_from_draws
from tlm_jax.teacher_cache.topk import TopK
from tlm_jax.teacher_cache.unembedding import StoredUnembedding
from tlm_jax.teacher_cache.writer import CacheWriter

__all__ = [
    "ENCODINGS",
    "CacheWriter",
    "Header",
    "Hidden",
    "Sampled",
    "StoredUnembedding",
    "TeacherCache",
    "TopK",
    "encoding_by_name",
    "steps_from_draws",
]
