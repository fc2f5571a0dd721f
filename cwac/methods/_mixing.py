"""Safety demonstrations among the training examples, with the rest left where it was.

A run has ``steps * batch_size`` examples whatever the method, so demonstrations take places and
add none: another number of updates would be a difference of its own. Every example that is not
replaced stands where plain fine-tuning under the same seed has it.
"""

from collections.abc import Iterable, Iterator, Sequence

from cwac.errors import DataError
from cwac.interfaces import MethodContext
from cwac.methods._harmful import Rounds, demonstrations, stream
from cwac.prompts import Example


class Demonstrations:
    """Refused harmful safety requests with their safe answers; all come once per round.

    Parameters
    ----------
    context : MethodContext
    method : str
        The method's name: for messages, and for a random stream of its own.

    Raises
    ------
    DataError
        No harmful safety request that the aligned model refuses has a safe answer.
    """

    def __init__(self, context: MethodContext, method: str) -> None:
        self.method = method
        self.examples = demonstrations(context, method)
        self.rounds = Rounds(len(self.examples), 1, stream(context, f"{method} demonstrations"))

    def __iter__(self) -> Iterator[Example]:
        """Give demonstrations without end."""
        while True:
            yield self.examples[int(self.rounds.take())]

    def put_at(self, examples: Sequence[Example], places: Iterable[int]) -> list[Example]:
        """Return the examples with the next demonstrations at some places."""
        mixed = list(examples)
        for place, shown in zip(places, self, strict=False):
            mixed[place] = shown
        return mixed

    def mix_in(self, examples: Sequence[Example], share: float) -> list[Example]:
        """Return the examples with a share of them replaced, evenly over the run.

        Only task examples give way, so that the number, order and places of the poison do not
        change.

        Parameters
        ----------
        share : float
            Of all examples, in (0, 1); at least one is replaced.

        Raises
        ------
        DataError
            There are fewer task examples than demonstrations to be placed.
        """
        free = [place for place, example in enumerate(examples) if not example.poison]
        count = max(1, round(share * len(examples)))
        if count > len(free):
            raise DataError(
                f"{self.method} is to show {count} demonstrations in place of task examples, but "
                f"only {len(free)} of {len(examples)} examples belong to the task."
            )
        places = [free[(2 * k + 1) * len(free) // (2 * count)] for k in range(count)]
        return self.put_at(examples, places)
