"""Earlier finds, each as the case that shows it: none may come back.

Numbers are those of the record of a hostile tester; what is not at one of the doors (full disks,
killed processes, floods) has its test elsewhere, as the README says.
"""

from collections.abc import Mapping, Sequence
from types import MappingProxyType

from attrs import frozen

from tests.containment.case import Case


@frozen
class Find:
    """One case of a fault that was found once."""

    number: str
    case: Case
    still_open: str = ""
    """Why it is not mended yet; empty where it is."""


_CASES = """\
F4    client.fetch(task_id='said:xyz')
F4    client.fetch(task_id='said:01234567-89ab-cdef-0123-456789abcdef')
F4    client.submit(queue='none')
F4    client.submit(queue='text:40000')
F4    client.task(deadline='float:2e15')
F4    client.task(run_limit='float:1e300')
F4    client.task(max_attempts='int:9223372036854775808')
F4    client.config(many='int:1')
F4    client.task(task_type='text:40000')
F4    client.config(model='text:200000')
F4    client.inputs(key='text:40000')
F4    asyncio.task(deadline='float:2e15')
F4    http.body(deadline='1e300')
F4    http.body(run_limit='1e300')
F4    http.body(options='many:300')
F4    http.body(model='text:200000')
F4    http.body(task_type='text:200000')
F4    http.query(deadline='1e300')
F5    client.cancel(task='said:not an id')
F5    client.cancel(task='none')
F5    asyncio.cancel(task='none')
F5    client.ask(**{'a.task_id': 'float:nan'})
F5    client.ask(**{'a.task_id': 'bytes:16'})
F5    client.ask(**{'a.task_id': 'surrogate'})
F5    client.ask(**{'a.task_id': 'int:1208925819614629174706176'})
F5    client.ask(**{'a.task_id': 'deep:900'})
F5    client.callback(raised='raise:SystemExit')
F5    client.callback(raised='raise:KeyboardInterrupt')
F15   model.run(recipe='none', where='write-inputs')
F16   model.run(recipe='int:1101', where='many-outputs')
F16   model.run(recipe='text:90000', where='output-name')
F16   model.run(recipe='text:100000', where='error-code')
F16   model.run(recipe='float:0.5', where='progress-step')
F18   spec.function(recipe='said:64', where='needs.memory_mb')
F18   spec.function(recipe='power:400', where='run_seconds')
F18   spec.function(recipe='raise:SystemExit', where='needs')
F18   spec.function(recipe='raise:KeyboardInterrupt', where='batch_key')
F18   spec.function(recipe='raise:GeneratorExit', where='run_seconds')
F18   spec.function(recipe='raise:Untold', where='needs')
F18   spec.function(recipe='said:much', where='needs')
F18   spec.function(recipe='surrogate', where='batch_key')
F18   spec.function(recipe='float:nan', where='needs.memory_mb')
F18   spec.function(recipe='int:-1', where='needs.memory_mb')
F23   http.whole(body='deep:900')
F23   http.body(options='deep:900')
small model.run(recipe='surrogate', where='error-message')
small http.kind(kind='Application/JSON')
"""
_STILL_OPEN: Mapping[str, str] = MappingProxyType(
    {
        "model.run(recipe='none', where='write-inputs')": "I23 is checked with arrays"
        " that a model can write to",
    }
)
"""By case, as it is written above: the test of it then expects that it fails."""


def _finds() -> Sequence[Find]:
    rows = (line.split(maxsplit=1) for line in _CASES.splitlines())
    return [Find(number, Case.parse(text), _STILL_OPEN.get(text, "")) for number, text in rows]


FINDS: Sequence[Find] = _finds()
