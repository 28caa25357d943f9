"""The personal models in a host's memory, within a budget of bytes.

A busy one is never passivated; of the idle ones the longest idle goes first, after a time or when another
needs its place.
"""

from collections.abc import Callable, Iterator

from populace.actors.clock import Clock
from populace.actors.errors import HostOverloaded, HostUnavailable
from populace.actors.host.personal_model import PersonalModel
from populace.actors.turn import ModelId
from populace.policies.passivation import IdleQueue


class Activations:
    """The active models of one host. ``on_passivated`` is called with each model passivated when idle."""

    def __init__(
        self,
        host: str,
        *,
        clock: Clock,
        resident_bytes_max: int,
        idle_seconds_max: float,
        on_passivated: Callable[[PersonalModel], None],
    ) -> None:
        self._host = host
        self._clock = clock
        self._bytes_max = resident_bytes_max
        self._idle_seconds_max = idle_seconds_max
        self._on_passivated = on_passivated
        self._active: dict[ModelId, PersonalModel] = {}
        self._idle: IdleQueue[ModelId] = IdleQueue()
        self.resident_bytes = 0
        self.passivations = 0
        self.refusals = 0

    def __len__(self) -> int:
        return len(self._active)

    def __contains__(self, model: ModelId) -> bool:
        return model in self._active

    def __iter__(self) -> Iterator[PersonalModel]:
        """Iterate over a copy: models may come and go meanwhile."""
        return iter(list(self._active.values()))

    def get(self, model: ModelId) -> PersonalModel | None:
        return self._active.get(model)

    @property
    def busy(self) -> int:
        return len(self._active) - len(self._idle)

    @property
    def is_over(self) -> bool:
        """Whether the busy models hold more than there is room for."""
        return self.resident_bytes > self._bytes_max

    def add(self, model: PersonalModel) -> None:
        """Add the model; idle ones make room for it. Raises ``HostOverloaded`` if they are too few."""
        while self.resident_bytes + model.resident_bytes > self._bytes_max:
            victim = self._idle.longest_idle()
            if victim is None:
                self.refusals += 1
                raise HostOverloaded(f"All {len(self._active)} active models of {self._host} are busy.")
            self._passivate(victim)
        self._active[model.id] = model
        self.resident_bytes += model.resident_bytes

    def note_wanted(self, model: ModelId) -> None:
        """Keep the model active: a turn of it is about to be requested."""
        self._idle.discard(model)

    def note_idle(self, model: PersonalModel) -> None:
        """Allow the model to be passivated from now on, if it has nothing to do."""
        if self._active.get(model.id) is model and not model.is_busy:
            self._idle.add(model.id, self._clock.monotonic())

    def note_grown(self, model: PersonalModel, added_bytes: int) -> None:
        """Count bytes that the model holds in addition; idle models make room for it as far as they can."""
        if self._active.get(model.id) is not model:
            return
        self.resident_bytes += added_bytes
        while self.is_over:
            victim = self._idle.longest_idle()
            if victim is None:
                return
            self._passivate(victim)

    def passivate_idle(self) -> int:
        """Passivate the models that have been idle for too long; return how many."""
        count = 0
        for model in self._idle.idle_longer_than(self._idle_seconds_max, self._clock.monotonic()):
            self._passivate(model)
            count += 1
        return count

    def passivate(self, model: ModelId) -> bool:
        """Passivate one model now if it is idle; return whether it was active and idle."""
        if model not in self._idle:
            return False
        self._passivate(model)
        return True

    def drop(self, model: PersonalModel, error: Exception) -> None:
        """Remove the model at once, busy or not; callers that wait for it get the error."""
        self._idle.discard(model.id)
        if self._active.get(model.id) is model:
            del self._active[model.id]
            self.resident_bytes -= model.resident_bytes
        model.die(error)

    def check_integrity(self) -> None:
        """Raise ``AssertionError`` unless idle + busy = active, and bytes add up."""
        self._idle.check_integrity()
        for model_id, model in self._active.items():
            model.check_integrity()
            assert model.id == model_id
            assert model.is_busy != (model_id in self._idle), f"{model_id} is both or neither"
        assert len(self._idle) == sum(model_id in self._idle for model_id in self._active)
        assert self.resident_bytes == sum(model.resident_bytes for model in self._active.values())
        # A turn may add to its model's memory when every other model is busy.
        assert self.resident_bytes <= self._bytes_max or len(self._idle) == 0

    def _passivate(self, model_id: ModelId) -> None:
        model = self._active[model_id]
        assert not model.is_busy, "a busy model is never passivated"
        self.passivations += 1
        self.drop(model, HostUnavailable(self._host, "the model was passivated"))
        self._on_passivated(model)
