"""Functions of a ModelSpec that raise or return what they should not, inside a running broker."""

from hypothesis import strategies as st

from paintmq import Task, TaskType
from tests.containment.case import Case
from tests.containment.client_door import picture, settle
from tests.containment.odd_models import SPEC_FUNCTIONS
from tests.containment.site import Site
from tests.containment.strategies import raising_or_odd


def cases() -> st.SearchStrategy[Case]:
    """One function of the spec does one odd thing, for one task."""
    place = st.sampled_from(SPEC_FUNCTIONS)
    return st.tuples(place, raising_or_odd()).map(
        lambda odd: Case("spec", "function", (("recipe", odd[1]), ("where", odd[0])))
    )


def act(site: Site, case: Case) -> None:
    """Submit a task for which it happens: it must be refused, fail, or end."""
    config = {"model": "odd-spec", **case.odd()}
    task = Task(TaskType.PLUGIN, config, {"image": picture()})
    settle(site.clients["client"].submit(task, timeout=20.0))
