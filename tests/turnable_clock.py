"""A clock that stands still until it is turned."""


class TurnableClock:
    def __init__(self, time: float = 1_000_000.0) -> None:
        self.time = time

    def now(self) -> float:
        return self.time

    def turn(self, seconds: float) -> None:
        self.time += seconds
