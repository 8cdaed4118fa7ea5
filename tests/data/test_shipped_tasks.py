"""Our tasks and gin files are found from anywhere, beside a user's own of the same names."""

from fresh_python import run_python

MINE = """\
from tlm_jax.data import sources, tasks
tasks.register_task("{name}", sources.ListSource({{"train": []}}))
"""


def test_a_package_called_tasks_neither_hides_ours_nor_is_hidden(tmp_path):
    (tmp_path / "tasks").mkdir()
    (tmp_path / "tasks" / "__init__.py").write_text(MINE.format(name="of_mine"))
    (tmp_path / "tasks" / "gsm8k.py").write_text(MINE.format(name="my_gsm8k"))
    code = (
        "from tlm_jax.data.tasks import load_tasks\n"
        "found = load_tasks(['tasks', 'tasks.gsm8k'])\n"
        "print([name in found for name in ('of_mine', 'my_gsm8k', 'gsm8k_cot_zero_shot')])"
    )
    assert run_python(code, tmp_path) == "[True, True, True]\n"


def test_neither_does_a_module_of_that_name(tmp_path):
    (tmp_path / "tasks.py").write_text(MINE.format(name="of_mine"))
    code = (
        "from tlm_jax.data.tasks import load_tasks\n"
        "found = load_tasks(['tasks'])\n"
        "print('of_mine' in found, 'gsm8k_cot_zero_shot' in found)"
    )
    assert run_python(code, tmp_path) == "True True\n"


def test_plain_import_of_tasks_in_a_checkout_enters_all_into_seqio(tmp_path):
    code = (
        "import tasks, seqio\n"
        "from tasks.gsm8k import RECORDS\n"
        "from tlm_jax.data.tasks import load_tasks\n"
        "print('gsm8k_cot_zero_shot' in seqio.TaskRegistry.names(), RECORDS.name)\n"
        "print(set(load_tasks(['tasks.gsm8k'])) <= "
        "{*seqio.TaskRegistry.names(), *seqio.MixtureRegistry.names()})"
    )
    assert run_python(code, tmp_path) == "True gsm8k\nTrue\n"
