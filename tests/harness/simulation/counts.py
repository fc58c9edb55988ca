"""What runs did, added up."""

from collections import Counter

from attrs import define, field


@define
class Counts:
    """The sums of one run, or of many."""

    hours: float = 0.0
    events: int = 0
    tasks: int = 0
    """Accepted, as their clients know."""
    endings: Counter[str] = field(factory=Counter[str])
    """Tasks by the ending their client heard."""
    faults: Counter[str] = field(factory=Counter[str])
    """By kind."""
    messages: int = 0
    """Carried to the end."""
    lost: int = 0
    """Messages that the network lost, partitions included."""
    doubled: int = 0
    hostile_acts: int = 0
    """What programs with keys of their own tried on others' tasks."""
    slowest: float = 0.0
    """Longest time until everything had ended after the faults had, in simulated seconds."""

    def add(self, other: "Counts") -> None:
        self.hours += other.hours
        self.events += other.events
        self.tasks += other.tasks
        self.endings.update(other.endings)
        self.faults.update(other.faults)
        self.messages += other.messages
        self.lost += other.lost
        self.doubled += other.doubled
        self.hostile_acts += other.hostile_acts
        self.slowest = max(self.slowest, other.slowest)

    def in_words(self) -> str:
        endings = ", ".join(f"{count} {state}" for state, count in sorted(self.endings.items()))
        faults = ", ".join(f"{count} {kind}" for kind, count in sorted(self.faults.items()))
        return (
            f"{self.hours:g} simulated hours, {self.events} events: {self.tasks} tasks "
            f"({endings}); "
            f"{self.faults.total()} faults ({faults}); {self.messages} messages, {self.lost} more "
            f"lost, {self.doubled} doubled; {self.hostile_acts} hostile acts; "
            f"the slowest end came {self.slowest:.0f} s after the faults"
        )
