"""TeacherLM's test splits of CREAK and StrategyQA, as choices between True and False."""

import functools

from tlm_jax.data.demonstrations import DemonstrationPool
from tlm_jax.data.file_records import file_records, official, uniform
from tlm_jax.data.formatted import register_formats
from tlm_jax.data.official.collections import read_arrow

TEST_ONLY = "TeacherLM publishes the test split only; train on creak or strategyqa."

for _name, _folder in (("creak", "creak"), ("strategyqa", "strategy_qa")):
    _records = file_records(
        f"teacherlm_eval_{_name}",
        f"the GitHub project hahaplus/TeacherLM, folder evaluate/lm_eval/datasets/{_folder}",
        {
            "test": [
                uniform(f"teacherlm_eval_{_name}"),
                *official(
                    functools.partial(read_arrow, name=f"teacherlm_eval_{_name}"),
                    "test",
                    f"lm_eval/datasets/{_folder}",
                ),
            ]
        },
        unreadable={"train": TEST_ONLY},
    )
    register_formats(
        f"teacherlm_eval_{_name}",
        _records,
        pool=DemonstrationPool(_records, "test"),
        description=f"TeacherLM's test split of {_name}",
    )
