"""What a model returns, reports and raises, in a model host beside honest tasks."""

import numpy as np
from hypothesis import strategies as st

from paintmq import Task, TaskType
from tests.containment.case import Case
from tests.containment.client_door import settle
from tests.containment.odd_models import MODEL_PLACES
from tests.containment.site import HarmError, Site
from tests.containment.strategies import raising_or_odd

SIDE = 16


def cases() -> st.SearchStrategy[Case]:
    """One odd thing at one place of one run; or too many outputs, or inputs written to."""
    place = st.sampled_from(MODEL_PLACES)
    odd = st.tuples(place, raising_or_odd())
    others = st.sampled_from(
        (("many-outputs", "int:1025"), ("many-outputs", "int:20000"), ("write-inputs", "none"))
    )
    return st.one_of(odd, odd, odd, others).map(
        lambda pair: Case("model", "run", (("recipe", pair[1]), ("where", pair[0])))
    )


def act(site: Site, case: Case) -> None:
    """Submit such a task, which must end; pixels outside the mask never change (I23)."""
    odd = case.odd()
    kind = TaskType.INPAINT if odd["where"] == "write-inputs" else TaskType.PLUGIN
    rng = np.random.default_rng(len(str(case)))
    image = rng.integers(0, 255, (SIDE, SIDE, 3), np.uint8)
    mask = np.zeros((SIDE, SIDE), np.uint8)
    mask[4:8, 4:8] = 255
    task = Task(kind, {"model": "odd-model", **odd}, {"image": image, "mask": mask})
    handle = site.clients["client"].submit(task, timeout=20.0)
    result = settle(handle, must_end=True)
    if kind is TaskType.INPAINT and result is not None:
        outside = mask == 0
        if not np.array_equal(result.image[outside], image[outside]):
            raise HarmError("pixels outside the mask have changed")
