"""What is worked out once for tasks that are alike."""

import pytest

from paintmq.broker.scheduling import task_forms
from paintmq.broker.scheduling.backlog import BacklogKey
from paintmq.broker.scheduling.task_forms import TaskForms
from paintmq.plugin.catalog import Catalog, CheckedTask
from paintmq.testing.example_tasks import make_request, make_spec


def checked(pixels: int = 10) -> CheckedTask:
    return Catalog([make_spec()]).check(make_request(run_limit=float(pixels)))


def test_tasks_of_one_checked_object_share_a_form_and_others_have_their_own() -> None:
    forms, one, other = TaskForms(), checked(), checked()

    assert forms.of(one) is forms.of(one)
    assert forms.of(other).number != forms.of(one).number
    assert forms.of(one).checked is one
    assert list(forms.of(one).runs) == list(one.jobs)


def test_the_number_of_forms_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(task_forms, "REMEMBERED", 3)
    forms, all_checked = TaskForms(), [checked(n) for n in range(1, 10)]
    numbers = [forms.of(each).number for each in all_checked]

    assert numbers == list(range(1, 10))
    assert len(forms._known) <= 3
    assert forms.of(all_checked[0]).number == 10, "what was forgotten is made again"


def test_a_new_kind_of_worker_makes_tasks_find_their_backlogs_anew() -> None:
    forms, one = TaskForms(), checked()
    key = BacklogKey(model="toy", devices=("cpu",), suspect=False, excluded=(), profiles=1)
    forms.of(one).keys["cpu-light", False, ()] = key
    forms.forget_keys()

    assert not forms.of(one).keys
