"""The errors of training jobs; ``storage/records/errors.py`` holds the root.

::

    StorageError
    ├── JobNotFound       no such training job of the model, or not any more
    ├── JobEnded          the training job is over
    └── TrainingUnderWay  the model has a training job that has not ended
"""

from populace.storage.records.errors import StorageError


class JobNotFound(StorageError):
    """The model has no training job of this number, or not any more; None: it has no open one."""

    code = "job_not_found"

    def __init__(self, model: str, number: int | None) -> None:
        super().__init__(model, number)
        self.model = model
        self.number = number

    def __str__(self) -> str:
        which = "that has not ended" if self.number is None else str(self.number)
        return f"The model `{self.model}` has no training job {which}."


class JobEnded(StorageError):
    """The training job is over: nothing can be done about it any more."""

    code = "job_ended"

    def __init__(self, model: str, number: int, state: str) -> None:
        super().__init__(model, number, state)
        self.model = model
        self.number = number
        self.state = state

    def __str__(self) -> str:
        return f"The training job {self.number} of `{self.model}` is over: it was {self.state}."


class TrainingUnderWay(StorageError):
    """The model is trained already: one training at a time, since each begins where the last one ended."""

    code = "training_under_way"

    def __init__(self, model: str, number: int) -> None:
        super().__init__(model, number)
        self.model = model
        self.number = number

    def __str__(self) -> str:
        return (
            f"The training job {self.number} of `{self.model}` has not ended. Wait for it, or cancel it with "
            f"`populace jobs --cancel {self.model}`."
        )
