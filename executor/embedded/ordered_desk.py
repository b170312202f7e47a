"""The desk whose reports run in the order of its bulletin: much of it is known long before the end.

A field is told about where its turn comes. Some of what is told first is unsure; corrections
follow within three fields, but a few of them stand at the end.
"""

from __future__ import annotations

import math
import random

from executor.embedded.task import CORRESPONDENTS, Certainty, Task

_JITTER, _P_END = 1.2, 0.10


def _place(rng: random.Random, number: int, _certainty: Certainty) -> float:
    return number + _JITTER * rng.random()


def _soon(rng: random.Random, place: float) -> float:
    """Mostly one or two fields later."""
    return math.inf if rng.random() < _P_END else place + rng.uniform(0.5, 2.0)


ORDERED = Task(
    fields=(
        *("event", "city", "venue", "day", "hour", "host", "sponsor"),
        *("music", "dish", "drink", "mascot", "prize", "weather", "transport"),
    ),
    correspondents=CORRESPONDENTS[:4],
    styles=(
        {
            "sure": "we can say that the {field} is {value} .",
            "unsure": "we can say that the {field} is perhaps {value} .",
            "fix": "sorry , the {field} is really {value} .",
        },
        {
            "sure": "our desk confirms that the {field} will be {value} .",
            "unsure": "our desk believes that the {field} will be perhaps {value} .",
            "fix": "correction : the {field} will be really {value} .",
        },
        {
            "sure": "everybody here says that the {field} is {value} .",
            "unsure": "somebody here guesses that the {field} is maybe {value} .",
            "fix": "oh and the {field} is really {value} .",
        },
        {
            "sure": "from my notebook , {field} : {value} .",
            "unsure": "from my notebook , {field} : maybe {value} .",
            "fix": "update of my notebook , {field} : really {value} .",
        },
        {
            "sure": "as for the {field} , it is {value} .",
            "unsure": "as for the {field} , it is perhaps {value} .",
            "fix": "as for the {field} , it is really {value} .",
        },
    ),
    bulletin=(
        "good evening dear listeners tonight brings one splendid {event} "
        "which takes place inside lovely old town {city} "
        "where doors open early at its famous {venue} "
        "so please mark your calendar with next {day} "
        "arrive not any later than around half {hour} "
        "guests shall meet their charming presenter named {host} "
        "generous funding comes through a local partner {sponsor} "
        "musicians perform many cheerful tunes in style {music} "
        "hungry people may taste freshly cooked warm {dish} "
        "thirsty ones get cold glasses brimming over {drink} "
        "children love to hug this costumed friend {mascot} "
        "lucky winners take home some shiny new {prize} "
        "forecasters expect nothing worse outdoors but mild {weather} "
        "best way back when everything ends remains {transport} "
        "stay tuned after these short announcements"
    ),
    p_missing=0.12,
    p_sure=0.66,
    p_fix=0.50,
    place=_place,
    fix_place=_soon,
)
