"""What engines in the thread of a device have in common."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Sequence

from executor.engine import EngineCall, Key, Listener, Tokened
from executor.guarding import Guarded, in_words
from executor.inprocess.device import Device
from executor.inprocess.models import LoadedModel
from executor.inprocess.running_call import turn_away


class DeviceEngine(Tokened, ABC):
    """Serves calls to ``model`` on ``device``, in whose thread they wait, begin and end."""

    def __init__(self, model: LoadedModel, device: Device) -> None:
        super().__init__(model)
        self._model = model
        self._device = device
        self._queue: deque[tuple[EngineCall, Listener]] = deque()
        # Of calls that get no more of the tokens that one pass gave.
        self._cancelled: set[Key] = set()

    def submit(self, call: EngineCall, listener: Listener) -> None:
        guarded = Guarded(listener, self.cancel)
        self._device.post(lambda: self._queue.append((call, guarded)))

    def cancel(self, key: Key) -> None:
        self._cancelled.add(key)
        self._device.post(lambda: self._cancel(key))

    # in the device's thread

    @abstractmethod
    def _begin(self, call: EngineCall, listener: Listener) -> None:
        """``call`` runs from now on."""

    @abstractmethod
    def _end_running(self, key: Key) -> bool:
        """Ends the call that runs, as cancelled; whether there is one."""

    def _begin_next(self) -> None:
        """Of the queue; a call that cannot begin is told why."""
        call, listener = self._queue.popleft()
        try:
            self._check(call.prompt_ids)
            self._begin(call, listener)
        except Exception as error:  # torch may raise anything; other calls go on
            turn_away(call, listener, in_words(error))

    def _check(self, prompt: Sequence[int]) -> None:
        """On a GPU a token that is none stops every call, so it must not get there."""
        size = self._model.vocabulary_size
        if not prompt:
            raise ValueError("the prompt is empty")
        if not 0 <= min(prompt) <= max(prompt) < size:
            raise ValueError(f"the prompt has tokens outside 0 … {size - 1}")

    def _cancel(self, key: Key) -> None:
        self._cancelled.discard(key)
        if self._end_running(key):
            return
        for call, listener in self._queue:
            if call.key == key:
                self._queue.remove((call, listener))
                turn_away(call, listener)
                return
