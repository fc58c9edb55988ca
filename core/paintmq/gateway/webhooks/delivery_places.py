"""Deliveries at a time: in all, and to one host, so that a slow one holds up no other."""

from attrs import define, field

from paintmq.gateway.webhooks.hosts import target_of

MOST = 16
MOST_EACH = 4


@define
class DeliveryPlaces:
    """Which hosts are being called, how often."""

    _taken: dict[str, int] = field(factory=dict[str, int], init=False)

    def may_take(self, url: str) -> bool:
        taken = self._taken.get(_host(url), 0)
        return taken < MOST_EACH and sum(self._taken.values()) < MOST

    def take(self, url: str) -> bool:
        """Return whether there was a place; it is taken then."""
        if not self.may_take(url):
            return False
        host = _host(url)
        self._taken[host] = self._taken.get(host, 0) + 1
        return True

    def give_back(self, url: str) -> None:
        host = _host(url)
        self._taken[host] -= 1
        if not self._taken[host]:
            del self._taken[host]


def _host(url: str) -> str:
    try:
        return target_of(url).origin
    except ValueError:  # of a file that somebody has changed: its attempt will say so
        return ""
