"""First-party routers keep to the contract, as a third party's must."""

from paintmq.testing import RouterContract


class TestLeastLoaded(RouterContract):
    plugin = "paintmq_routers.least_loaded"
    router = "least-loaded"


class TestPriorityFirst(RouterContract):
    plugin = "paintmq_routers.priority_first"
    router = "priority-first"


class TestModelAffinity(RouterContract):
    plugin = "paintmq_routers.model_affinity"
    router = "model-affinity"
