"""What can go wrong, as a tree.

StaircaseError
├── InputError            something the user gave is wrong: one line, exit code 2
│   ├── PipelineError     agents and who reads whom
│   ├── ScheduleError     staircases, barrier, layout
│   ├── ScenarioError     a scenario file
│   ├── WorkloadError     requests, lengths, arrivals
│   ├── ProfileError      a profile that is missing, of another schema, or edited
│   │   └── TooFewPointsError
│   ├── PlanError         a plan file
│   ├── SloError          limits of latency
│   ├── RecordError       a record of requests
│   └── ModelError        a model folder that is not one
└── EngineError           an engine could not finish a call
"""


class StaircaseError(Exception):
    """Root of every error that Staircase raises on purpose."""


class InputError(StaircaseError):
    """The user's input is wrong; the message is one line that says what would be right."""


class PipelineError(InputError):
    pass


class ScheduleError(InputError):
    pass


class ScenarioError(InputError):
    pass


class WorkloadError(InputError):
    pass


class ProfileError(InputError):
    pass


class TooFewPointsError(ProfileError):
    """Measurements that are too few for a fit."""


class PlanError(InputError):
    pass


class SloError(InputError):
    pass


class RecordError(InputError):
    pass


class ModelError(InputError):
    pass


class EngineError(StaircaseError):
    """A call could not be finished by its engine."""
