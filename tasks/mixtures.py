"""Mixtures of the tasks, and which of them repeat each other.

Overlaps, by question text or id; keep them in mind before reporting a test score:
- flan_cot_gsm8k repeats gsm8k's training questions, all 7,473 of them.
- All 6,915 claims of flan_cot_creak are in creak's training split.
- flan_cot_strategyqa and strategyqa's training split hold the same questions.
- 5,699 of the 7,112 questions of flan_cot_ecqa are in commonsenseqa's training split, and 29 are
  in TeacherLM's ECQA test split, which lies in commonsenseqa's training and validation splits.
- 202 of the 228 questions of TeacherLM's StrategyQA test split are in strategyqa's training split
  and 26 in its validation split.
- The four-case prompt of FlanT5 specialization uses gsm8k's training rows 802, 2778, 6893, 7003,
  and STaR's prompts use commonsenseqa's and gsm8k's training questions.
So a mixture never holds a FLAN part together with the set it repeats, and none holds a set that is
for evaluation only.
"""

from tlm_jax.data.formats import FORMATS
from tlm_jax.data.tasks import register_mixture

from . import flan_cot

# Rows of FLAN's files: a part is drawn as often as it is large, as FLAN does.
FLAN_COT_ROWS = {
    "aqua": 2728,
    "creak": 6915,
    "ecqa": 7112,
    "gsm8k": 7473,
    "qasc": 1084,
    "sensemaking": 6070,
    "strategyqa": 2061,
}

for _name in ("gsm8k", "word_problems", "word_problems_easy"):
    register_mixture(
        f"{_name}_four_formats",
        {f"{_name}_{form}": 1.0 for form in FORMATS},
        description=f"All four formats of {_name} alike (FlanT5 specialization)",
    )

for _form in FORMATS:
    register_mixture(
        f"flan_{_form}",
        {f"flan_cot_{name}_{_form}": float(FLAN_COT_ROWS[name]) for name in flan_cot.KINDS},
        description=f"FLAN's chain-of-thought sets [{_form.replace('_', ' ')}]",
    )
