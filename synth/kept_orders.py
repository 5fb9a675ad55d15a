"""Orders of heads, kept while a run goes on: of a large model they take long to make."""

import json
import shutil
from collections.abc import Callable

from grammar.errors import InputError
from interpreter.capture import Head
from interpreter.fetch import cache_folder
from synth.whole_file import write_whole


class KeptOrders:
    """The orders of one run, in the cache until it is done."""

    def __init__(self, key: str) -> None:
        """`key` is that of the run: what determines its orders."""
        self._folder = cache_folder() / "orders" / key

    def order(self, name: str, make: Callable[[], list[Head]]) -> list[Head]:
        """The heads in the order of that name, made unless it was before the run was cut off.

        InputError, before it is made, where it cannot be kept.
        """
        place = self._folder / f"{name}.json"
        if place.exists():
            return [(layer, head) for layer, head in json.loads(place.read_text(encoding="utf-8"))]
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(
                f"{self._folder} cannot be written: {error}; set HEADSCRIPT_CACHE to another folder"
            ) from error
        order = make()
        write_whole(place, [json.dumps(order)])
        return order

    def done(self) -> None:
        """Forgets them."""
        if self._folder.exists():
            shutil.rmtree(self._folder)
