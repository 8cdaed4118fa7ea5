"""Draws by counter."""

from collections import Counter

from tlm_jax.data.generators.draws import SPLITS, Draws, split_of


def test_the_same_key_gives_the_same_draws_on_every_machine():
    assert [Draws("a", 1).below(100) for _ in range(3)] == [Draws("a", 1).below(100)] * 3
    draws = Draws("a", 1)
    # Pinned: another machine, Python version or release must draw the same.
    assert [draws.below(1000) for _ in range(6)] == [895, 352, 298, 633, 495, 794]


def test_draws_are_uniform_and_go_on_beyond_one_block_of_bits():
    draws = Draws("uniform")
    counts = Counter(draws.below(7) for _ in range(7000))
    assert set(counts) == set(range(7))
    assert all(abs(count - 1000) < 130 for count in counts.values())


def test_between_includes_both_ends():
    draws = Draws("between")
    assert {draws.between(3, 5) for _ in range(200)} == {3, 4, 5}


def test_split_depends_on_content_alone_and_has_the_shares_it_says():
    counts = Counter(split_of(("x", i)) for i in range(20_000))
    assert set(counts) == set(SPLITS)
    assert abs(counts["validation"] / 20_000 - 13 / 256) < 0.01
    assert abs(counts["test"] / 20_000 - 13 / 256) < 0.01
    assert split_of(("x", 1)) == split_of(("x", 1))
