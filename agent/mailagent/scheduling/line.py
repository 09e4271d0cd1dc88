"""The messages of one ready queue in the order in which they leave."""

from collections import deque
from collections.abc import Callable, Iterator

from mailagent.config.structs import Priority
from mailagent.scheduling.item import Item

_ORDER = tuple(Priority)  # going through the enumeration itself costs five times as much, and happens per message


class Line:
    """High before normal before bulk, those of one class in order of arrival."""

    __slots__ = ("_classes", "count")

    def __init__(self) -> None:
        self._classes: dict[str, deque[Item]] = {}  # most ready queues see one class only
        self.count = 0
        """How many stand here; asked for several times per message, and `len` of an object costs ten times as much."""

    def __len__(self) -> int:
        return self.count

    def __iter__(self) -> Iterator[Item]:
        for priority in Priority:
            yield from self._classes.get(priority, ())

    def depth(self, priority: str) -> int:
        """How many of one class stand here."""
        items = self._classes.get(priority)
        return len(items) if items is not None else 0

    def push(self, item: Item) -> None:
        """Take one more."""
        items = self._classes.get(item.priority)
        if items is None:
            items = self._classes[item.priority] = deque()
        items.append(item)
        self.count += 1

    def put_back(self, item: Item) -> None:
        """Take one that is the next of its class."""
        self.push(item)
        self._classes[item.priority].rotate(1)

    def pop(self) -> Item:
        """The next one; IndexError when there is none."""
        for priority in _ORDER:
            items = self._classes.get(priority)
            if items:
                self.count -= 1
                return items.popleft()
        raise IndexError("nobody stands in line")

    def take(self, condition: Callable[[Item], bool] = lambda _: True) -> list[Item]:
        """Remove those that satisfy `condition`, or all."""
        taken: list[Item] = []
        for priority, items in self._classes.items():
            chosen = list(map(condition, items))
            if any(chosen):
                taken += [item for item, goes in zip(items, chosen, strict=True) if goes]
                self._classes[priority] = deque(item for item, goes in zip(items, chosen, strict=True) if not goes)
        self.count -= len(taken)
        return taken
