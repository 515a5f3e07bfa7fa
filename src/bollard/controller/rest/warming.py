"""Encodes the long view in the background, a little at a time, so that who asks first need not wait for all.

It decides nothing and answers nobody; a step is too short to be felt, and pauses follow it.
"""

from typing import Final

from bollard.controller.rest import views
from bollard.controller.rest.api import Api
from bollard.controller.rest.blocks import Piece

PERIOD_S: Final = 3.0
"""Between two looks at what is new."""
STEP: Final = 25
"""Resources that are encoded before others get their turn: about a millisecond."""
PAUSE_S: Final = 0.01
"""After each step that had something to do."""


class Warmer:
    """Runs until cancelled."""

    def __init__(self, api: Api) -> None:
        self._api = api
        self._seen = ""

    async def run(self) -> None:
        """Encode what is new, again and again."""
        while True:
            await self._api.clock.sleep(PERIOD_S)
            if self._api.version != self._seen:
                await self.encode()

    async def encode(self) -> None:
        """Encode and compress what is new since the last time. Short lists need none of this."""
        api = self._api
        self._seen = api.version
        resources = api.ordered()
        if len(resources) < views.LONG:
            return
        pieces: list[Piece] = []
        for start in range(0, len(resources), STEP):
            misses = api.fragments.misses
            pieces.extend(views.fragments_of(api, resources[start : start + STEP]))
            await api.clock.sleep(PAUSE_S if api.fragments.misses != misses else 0)
        for block in api.blocks.of(pieces):
            if not block.deflated:
                block.packed()
                await api.clock.sleep(PAUSE_S)
