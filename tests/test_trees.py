"""Trees and '/'-joined names convert into each other."""

from tlm_jax import trees


def test_flatten_and_back():
    tree = {"b": {"y": 2, "x": {"deep": 1}}, "a": 0}
    flat = trees.flatten(tree)
    assert list(flat.items()) == [("a", 0), ("b/x/deep", 1), ("b/y", 2)]
    assert trees.unflatten(flat) == tree


def test_tuples_are_leaves():
    assert trees.flatten({"a": {"b": ("embed", "mlp")}}) == {"a/b": ("embed", "mlp")}


def test_map_named_sees_the_whole_name():
    tree = {"a": {"b": 1}, "c": 2}
    assert trees.map_named(lambda name, leaf: (name, leaf), tree) == {
        "a": {"b": ("a/b", 1)},
        "c": ("c", 2),
    }
