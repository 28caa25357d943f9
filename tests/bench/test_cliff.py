"""Every side plays the same traffic, and the figures are those of what came."""

import pytest

from scripts.bench.cliff import RATIOS, CliffBench, _Cell, _figures, _traffic
from scripts.bench.engine_process import Round, Served


@pytest.mark.parametrize("ratio", RATIOS)
@pytest.mark.parametrize("traffic", ["zipf", "uniform"])
def test_traffic_is_the_same_each_time_and_asks_for_the_working_set_alone(traffic: str, ratio: float) -> None:
    bench, cell = CliffBench(requests=40), _Cell(traffic, ratio)

    clients = _traffic(bench, cell, 1)

    assert clients == _traffic(bench, cell, 1)
    assert clients != _traffic(bench, cell, 2)
    asks = [ask for client in clients for ask in client]
    assert len(clients) == bench.clients
    assert {ask.adapter for ask in asks} <= set(range(max(1, round(bench.slots * ratio))))
    assert len({ask.prompt for ask in asks}) == len(asks) == bench.clients * bench.requests
    lengths = [ask.reply_tokens for ask in asks]
    assert bench.reply_tokens // 2 <= min(lengths) < max(lengths) <= bench.reply_tokens * 3 // 2


def test_zipf_asks_for_the_first_most_and_uniform_for_all_alike() -> None:
    bench = CliffBench(requests=200)
    first = {
        traffic: sum(ask.adapter == 0 for client in _traffic(bench, _Cell(traffic, 8), 1) for ask in client)
        for traffic in ("zipf", "uniform")
    }

    assert first["zipf"] > 4 * first["uniform"] > 0


def test_figures_are_of_the_tokens_that_came() -> None:
    played = Round((Served((0.1, 0.2, 0.9)), Served((0.3, 0.4))), seconds=2.0)

    found = _figures(played)

    assert found.speed == 2.5
    assert found.first_p50 == pytest.approx(0.2)
    assert found.first_max == 0.3
    assert found.gap == pytest.approx(0.7)
