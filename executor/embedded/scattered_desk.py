"""The hard desk: facts stand anywhere in a report, unsure ones later, corrections at its end.

Hardly anything true can be written before the reports are read.
"""

from __future__ import annotations

import math
import random

from executor.embedded.task import CORRESPONDENTS, Certainty, Task


def _place(rng: random.Random, _number: int, certainty: Certainty) -> float:
    return rng.random() + (0.6 if certainty == "unsure" else 0.0)


def _at_the_end(_rng: random.Random, _place: float) -> float:
    return math.inf


SCATTERED = Task(
    fields=("event", "city", "venue", "day", "host", "dish", "music", "mascot"),
    correspondents=CORRESPONDENTS,
    styles=(
        {
            "sure": "the {field} is {value} .",
            "unsure": "the {field} is perhaps {value} .",
            "fix": "sorry , the {field} is really {value} .",
        },
        {
            "sure": "our desk confirms that the {field} will be {value} .",
            "unsure": "our desk believes that the {field} will be perhaps {value} .",
            "fix": "correction : the {field} will be really {value} .",
        },
        {
            "sure": "everybody here says the {field} is {value} .",
            "unsure": "somebody here guesses the {field} is maybe {value} .",
            "fix": "oh and the {field} is really {value} .",
        },
        {
            "sure": "{field} : {value} .",
            "unsure": "{field} : maybe {value} .",
            "fix": "update : {field} : really {value} .",
        },
        {
            "sure": "as for the {field} , it has been settled as {value} .",
            "unsure": "as for the {field} , it might turn out as perhaps {value} .",
            "fix": "as for the {field} , it is now really {value} .",
        },
    ),
    bulletin=(
        "happening {event} starts in town {city} at place {venue} on date {day} when presenter "
        "{host} proudly serves menu {dish} with lively sound {music} while friendly costume "
        "{mascot} greets everyone who comes"
    ),
    p_missing=0.15,
    p_sure=0.60,
    p_fix=0.30,
    place=_place,
    fix_place=_at_the_end,
)
