"""Embedded exam questions with all of TeacherLM's fields, in English and Chinese: no files."""

import functools

from tlm_jax.data.formatted import register_formats
from tlm_jax.data.generators.draws import SPLITS
from tlm_jax.data.generators.exam_items import ExamItems, exam_item
from tlm_jax.data.record_sets import GeneratedRecords
from tlm_jax.data.teacher_lm.tasks import register_student_formats
from tlm_jax.vocabularies import ByteVocabulary

for _name, _items, _description in (
    ("exam", ExamItems(), "Facts and sums in English and Chinese, endless"),
    ("exam_english", ExamItems(("en",)), "Facts and sums in English, endless"),
    ("exam_chinese", ExamItems(("zh",)), "Facts and sums in Chinese, endless"),
):
    _records = GeneratedRecords(_name, SPLITS, functools.partial(exam_item, _items))
    register_formats(_name, _records, vocabulary=ByteVocabulary(), description=_description)
    register_student_formats(_name, _records, vocabulary=ByteVocabulary(), description=_description)
