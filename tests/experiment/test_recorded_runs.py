"""Which runs are the same experiment, and in what they differ from a recipe."""

import json

from tables import PAGE, record_of, summary

from noprop_ode.experiment import find_config, override, parse_overrides
from noprop_ode.experiment.reproduce import identity, page
from noprop_ode.experiment.reproduce._record import changes


def test_no_two_experiments_are_seeds_of_one(tmp_path):
    runs = []
    for flags in ("--model.times uniform", "--model.weighting uniform --seed 1", "--model.embedding.trainable false"):
        values = json.loads(summary(0, 0.9, name="mnist_ct"))
        base = find_config("mnist_ct")
        if "trainable" in flags:
            base["model"] = {**base["model"], "embedding": {"type": "learned", "dim": 20}}
        values["config"] = override(base, parse_overrides([*flags.split(), "--epochs", "3"])).to_plain()
        runs.append(record_of(tmp_path, values))
    plain = {**runs[2], "settings": {**runs[2]["settings"], "model.embedding.trainable": True}}
    other = {**runs[0], "configuration": "mine"}
    text = page(PAGE, [*runs, plain, other])
    for words in ("`times` uniform | 3 | 1 |", "`weighting` uniform | 3 | 1 |", "`trainable` False | 3 | 1 |"):
        assert words in text
    assert "| MNIST | CT, one-hot, `mine` | 3 | 1 |" in text and identity(plain) != identity(runs[2])


def test_a_record_is_compared_with_the_recipe_of_today(tmp_path):
    found = record_of(tmp_path, json.loads(summary(0, 0.9, name="cifar10_fast_ct", epochs=16)))
    assert changes(found) == {}
    older = {**found, "settings": dict(found["settings"])}
    del older["settings"]["training.patience"], older["settings"]["data.augmentation.hole"]
    # The first is older than a setting whose default it had; the second is named by the recipe, and it had it not.
    assert changes(older) == {"data.augmentation.hole": None}


def test_settings_that_differ_from_the_recipe_are_named(tmp_path):
    text = json.loads(summary(0, 0.9, name="cifar10_fast_ct", epochs=16))
    assert changes(record_of(tmp_path, text)) == {}
    text["config"]["model"]["objective"]["smoothing"] = 0.1
    text["config"]["prediction"]["protocols"] = []
    found = record_of(tmp_path, text)
    assert changes(found) == {"model.objective.smoothing": 0.1}
    assert "| CIFAR-10 | CT, one-hot, the fast network, `smoothing` 0.1 | 16 | 1 | 90.00 (1) |  |  | 89.00 |" in page(
        PAGE, [found]
    )
    del text["samplers"]["paper"]  # nothing else stands in for what was not measured
    assert "`smoothing` 0.1 | 16 | 1 | 90.00 (1) |  |  |" in page(PAGE, [record_of(tmp_path, text)])


def test_runs_of_other_settings_have_a_table_of_their_own(tmp_path):
    values = json.loads(summary(0, 0.9, name="cifar10_fast_ct", epochs=16))
    values["config"]["model"]["objective"]["smoothing"] = 0.1
    found = page(PAGE, [record_of(tmp_path, values)])
    overview, other = found.index("| data |"), found.rindex("| data |")
    assert "`smoothing`" not in found[overview:other] and "`smoothing`" in found[other:]


def test_runs_by_configurations_of_the_users_own_are_told_apart(tmp_path):
    """Of their names nothing follows: with other settings it is another experiment, not another seed."""
    made = []
    for i, rate in enumerate((1e-3, 1e-2)):
        values = json.loads(summary(i, 0.9 + i / 100))
        values["config"] |= {"name": "mine"}
        values["config"]["optimiser"]["learning_rate"] = rate
        made.append(record_of(tmp_path, values))
    assert identity({**made[0], "seed": 0}) != identity({**made[1], "seed": 0})
    found = page(PAGE, made)
    assert "90.00" in found and "91.00" in found and "±" not in found
