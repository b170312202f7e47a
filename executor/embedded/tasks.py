"""The embedded tasks, by the name by which a scenario calls one and the model trained for it."""

from executor.embedded.ordered_desk import ORDERED
from executor.embedded.scattered_desk import SCATTERED
from executor.embedded.task import Task

TASKS: dict[str, Task] = {"embedded": ORDERED, "embedded-hard": SCATTERED}
