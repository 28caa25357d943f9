"""The errors of training jobs and of suites; ``storage/records/errors.py`` holds the root.

::

    StorageError
    ├── JobNotFound       no such training job of the model, or not any more
    ├── JobEnded          the training job is over
    ├── SuiteNotFound     the model has no suite of questions
    └── TrainingUnderWay  the model has a training job that has not ended
"""

from populace.storage.records.errors import StorageError


class JobNotFound(StorageError):
    """The model has no training job of this number, or not any more; None: it has no open one."""

    code = "job_not_found"

    model: str
    number: int | None

    def __str__(self) -> str:
        which = "that has not ended" if self.number is None else str(self.number)
        return f"The model `{self.model}` has no training job {which}."


class JobEnded(StorageError, logged=("state",)):
    """The training job has ended and cannot be changed any more."""

    code = "job_ended"
    template = "The training job {number} of `{model}` is over: it was {state}."

    model: str
    number: int
    state: str


class SuiteNotFound(StorageError):
    """The model has no suite of questions that it has to answer."""

    code = "suite_not_found"
    template = (
        "The model `{model}` has no suite of questions. `populace model evaluate {model} FILE` stores one."
    )

    model: str


class TrainingUnderWay(StorageError):
    """The model has an open training: there is one at a time, since each begins where the last one ended."""

    code = "training_under_way"
    template = (
        "The training job {number} of `{model}` has not ended. Wait for it, or cancel it with "
        "`populace model cancel {model}`."
    )

    model: str
    number: int
