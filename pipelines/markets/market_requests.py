"""Ask for markets by ticker, for several series with one request."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace

from pipelines.domain.markets.listings import Listings
from pipelines.errors import MarketError
from pipelines.markets.client import MarketClient, is_temporary
from pipelines.markets.tickers import TICKERS_PER_REQUEST

#: Questions that come within this time share a request.
GATHERING_SECONDS = 0.005


@dataclass(frozen=True)
class _Question:
    tickers: tuple[str, ...]
    answer: asyncio.Future[Listings]


class MarketRequests:
    """Answers questions for markets; `run` sends the requests."""

    def __init__(self, client: MarketClient, timeout_seconds: float) -> None:
        self._client = client
        self._timeout_seconds = timeout_seconds
        self._questions: asyncio.Queue[_Question] = asyncio.Queue()

    async def markets(self, tickers: Sequence[str]) -> Listings:
        """Markets by ticker (at most TICKERS_PER_REQUEST). Raises MarketError."""
        question = _Question(tuple(tickers), asyncio.get_running_loop().create_future())
        await self._questions.put(question)
        found = await question.answer
        wanted = set(tickers)
        return replace(
            found,
            listings=tuple(one for one in found.listings if one.market.ticker in wanted),
            refused=tuple(one for one in found.refused if one.ticker in wanted),
        )

    async def run(self) -> None:
        """Send requests, until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            while True:
                questions = [await self._questions.get()]
                await asyncio.sleep(GATHERING_SECONDS)
                while not self._questions.empty():
                    questions.append(self._questions.get_nowait())
                for together in _requests(questions):
                    tasks.create_task(self._ask(together))

    async def _ask(self, questions: Sequence[_Question]) -> None:
        """Send one request; when the exchange refuses it, one for each question."""
        try:
            found = await self._markets([ticker for question in questions for ticker in question.tickers])
        except MarketError as error:
            if len(questions) > 1 and not is_temporary(error):
                await asyncio.gather(*(self._ask([question]) for question in questions))
                return
            for question in questions:
                if not question.answer.done():
                    question.answer.set_exception(error)
        else:
            for question in questions:
                if not question.answer.done():
                    question.answer.set_result(found)

    async def _markets(self, tickers: Sequence[str]) -> Listings:
        try:
            async with asyncio.timeout(self._timeout_seconds):
                return await self._client.markets_of(tickers)
        except TimeoutError as error:
            raise MarketError(f"markets: no answer within {self._timeout_seconds:g} s") from error


def _requests(questions: Sequence[_Question]) -> list[list[_Question]]:
    """Questions by request: as many as fit, in their order."""
    found: list[list[_Question]] = []
    room = 0
    for question in questions:
        if not found or len(question.tickers) > room:
            found.append([])
            room = TICKERS_PER_REQUEST
        found[-1].append(question)
        room -= len(question.tickers)
    return found
