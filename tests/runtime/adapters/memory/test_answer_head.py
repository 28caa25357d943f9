"""What the answer head adds: the equations of its docstring."""

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from populace.adapters.memory.module import AnswerHead

HIDDEN, LAYERS, WIDTH, STATES = 5, 3, 4, 2


def drawn(seed: int) -> AnswerHead:
    head = AnswerHead(HIDDEN, LAYERS, WIDTH, STATES)
    generator = torch.Generator().manual_seed(seed)
    for parameter in head.parameters():
        torch.nn.init.normal_(parameter, generator=generator)
    return head


@settings(deadline=None, max_examples=40)
@given(seed=st.integers(0, 2**31))
def test_it_adds_what_is_repeated_and_what_is_around_it(seed: int) -> None:
    head = drawn(seed)
    generator = torch.Generator().manual_seed(seed + 1)
    hidden, read = (
        torch.randn(*shape, generator=generator) for shape in ((2, HIDDEN), (2, LAYERS, WIDTH + STATES))
    )

    added, opens = head.parts(hidden, read)

    for h, r, found, opened in zip(hidden, read, added, opens, strict=True):
        values = torch.cat([one[:WIDTH] for one in r])
        flat = torch.cat(list(r))
        lengths = torch.stack([one[:WIDTH].square().sum().sqrt() for one in r])
        z = torch.nn.functional.gelu(head.mixed.weight @ torch.cat((h, flat, lengths)) + head.mixed.bias)
        gate = head.repeats.weight[0] @ torch.cat((h, z)) + head.repeats.bias[0]
        g = torch.sigmoid(gate)
        wanted = g * (head.repeated.weight @ values) + (1 - g) * (head.around.weight @ z + head.around.bias)
        torch.testing.assert_close(found, wanted, atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(opened, gate, atol=1e-4, rtol=1e-4)


def test_a_new_one_adds_nothing() -> None:
    hidden, read = torch.ones(1, 1, HIDDEN), torch.ones(1, 1, LAYERS, WIDTH + STATES)

    assert not AnswerHead(HIDDEN, LAYERS, WIDTH, STATES)(hidden, read).any()


def test_what_reads_nothing_still_teaches() -> None:
    """The length of nothing has no slope, and must not have a NaN for one."""
    head, read = drawn(0), torch.zeros(1, LAYERS, WIDTH + STATES, requires_grad=True)

    head(torch.ones(1, HIDDEN), read).sum().backward()

    assert read.grad is not None
    assert torch.isfinite(read.grad).all()
