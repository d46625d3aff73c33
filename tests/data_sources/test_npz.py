"""npz files of the earlier systems: read in all their forms, written, and never unpickled."""

import numpy as np
import pytest

from data_sources.builders import csv_lines, some_data, write_csv
from trainer.data.build import prepare
from trainer.data.dataset import open_dataset, parts
from trainer.data.errors import DataUnavailable
from trainer.data.export import export


def arrays(counts=(40, 10), window=5, features=5, task="Regression", seed=0):
    rng = np.random.default_rng(seed)
    result = {}
    for name, count in zip(("train", "test", "val"), counts, strict=False):
        result[f"X_{name}"] = rng.normal(3, 2, (count, window, features)).astype(np.float32)
        labels = rng.normal(size=count) if task == "Regression" else rng.integers(0, 2, count)
        result[f"y_{name}"] = labels.astype(np.float32 if task == "Regression" else np.int64)
    return result


def opened(tmp_path, content, **fields):
    path = tmp_path / "set.npz"
    np.savez(path, **content)
    return open_dataset(prepare(some_data(source="npz", path=str(path), **fields), tmp_path / "cache"))


def whole(part):
    return part.gather(np.arange(len(part)))


def test_without_normalisation_samples_come_as_they_are(tmp_path):
    content = arrays((40, 10, 8))
    dataset = opened(tmp_path, content, normalize="None")
    for name, part in zip(("train", "val", "test"), parts(dataset).values(), strict=True):
        x, y = whole(part)
        assert np.array_equal(x, content[f"X_{name}"])
        assert np.array_equal(y, content[f"y_{name}"])
    assert dataset.manifest.scalers == ()
    assert dataset.manifest.target is None


def test_flat_samples_float64_and_labels_in_a_column_are_read(tmp_path):
    content = arrays()
    flat = {key: value.reshape(len(value), -1).astype(np.float64) for key, value in content.items()}
    dataset = opened(tmp_path, flat, normalize="None")
    x, y = whole(dataset.test)
    assert np.array_equal(x, content["X_test"])
    assert np.array_equal(y, content["y_test"])


def test_without_validation_samples_the_tail_of_training_serves(tmp_path):
    content = arrays()
    dataset = opened(tmp_path, content, normalize="None", valid_fraction=0.25)
    assert [len(part) for part in parts(dataset).values()] == [30, 10, 10]
    assert np.array_equal(whole(dataset.valid)[0], content["X_train"][30:])


def test_each_feature_is_scaled_by_the_training_samples_alone(tmp_path):
    content = arrays()
    before = opened(tmp_path, content)
    content["X_test"] *= 1000
    content["X_train"][36:] *= 1000
    after = opened(tmp_path, content)
    assert before.path != after.path
    x = whole(before.train)[0]
    assert x.tobytes() == whole(after.train)[0].tobytes()
    assert np.allclose(x.mean(axis=(0, 1)), 0, atol=1e-6)
    assert np.allclose(x.std(axis=(0, 1)), 1, atol=1e-6)
    (scaler,) = before.manifest.scalers
    assert scaler.mean == pytest.approx(content["X_train"][:36].mean(axis=(0, 1)))


@pytest.mark.parametrize("shape", [(5,), (1, 1, 5), (25,), (5, 5)])
def test_statistics_in_the_file_say_that_it_is_normalised_already(tmp_path, shape):
    content = arrays()
    dataset = opened(tmp_path, {**content, "mu": np.full(shape, 7.0), "sd": np.full(shape, 3.0)})
    assert np.array_equal(whole(dataset.train)[0], content["X_train"][:36])
    (scaler,) = dataset.manifest.scalers
    assert set(scaler.mean) == {7.0}
    assert set(scaler.deviation) == {3.0}
    assert len(scaler.mean) == np.prod(shape)


def test_classes_are_read(tmp_path):
    content = arrays(task="Classification")
    content["y_train"] = content["y_train"].astype(np.float32)
    dataset = opened(tmp_path, content, task="Classification")
    assert whole(dataset.train)[1].dtype == np.int64
    assert dataset.manifest.classes == 2


@pytest.mark.parametrize("fields", [{}, {"task": "Classification"}, {"normalize": "None"}, {"valid_fraction": 0}])
def test_a_set_that_was_exported_is_read_back_to_the_bit(tmp_path, fields):
    first = open_dataset(prepare(some_data(**fields), tmp_path / "cache"))
    path = tmp_path / "out.npz"
    export(first, path)
    second = open_dataset(prepare(some_data(source="npz", path=str(path), **fields), tmp_path / "cache"))
    for one, two in zip(parts(first).values(), parts(second).values(), strict=True):
        assert len(one) == len(two)
        for left, right in zip(whole(one), whole(two), strict=True):
            assert left.tobytes() == right.tobytes()
    assert [(s.mean, s.deviation) for s in first.manifest.scalers] == [
        (s.mean, s.deviation) for s in second.manifest.scalers
    ]
    assert list(tmp_path.glob(".*")) == []


def test_the_export_has_the_keys_of_the_earlier_format(tmp_path):
    export(open_dataset(prepare(some_data(), tmp_path / "cache")), tmp_path / "out.npz")
    with np.load(tmp_path / "out.npz", allow_pickle=False) as file:
        assert set(file) == {"X_train", "y_train", "X_val", "y_val", "X_test", "y_test", "mu", "sd", "tickers"}
        assert file["X_train"].shape == (139, 5, 5)
        assert file["X_train"].dtype == np.float32
        assert file["mu"].shape == file["sd"].shape == (5,)


def test_several_tickers_are_exported_with_their_own_statistics(tmp_path):
    lines = [[ticker, *line] for ticker in ("A", "B") for line in csv_lines(80, seed=ord(ticker))]
    path = write_csv(tmp_path / "a.csv", lines, ("Ticker", "Date", "Open", "High", "Low", "Close", "Volume"))
    first = open_dataset(prepare(some_data(source="csv", path=str(path)), tmp_path / "cache"))
    export(first, tmp_path / "out.npz")
    second = open_dataset(prepare(some_data(source="npz", path=str(tmp_path / "out.npz")), tmp_path / "cache"))
    assert second.manifest.scalers == first.manifest.scalers
    assert second.manifest.tickers == ("A", "B")


def test_an_export_that_cannot_be_written_is_a_sentence(tmp_path):
    dataset = open_dataset(prepare(some_data(), tmp_path / "cache"))
    (tmp_path / "out.npz").mkdir()
    with pytest.raises(DataUnavailable, match="the export cannot be written"):
        export(dataset, tmp_path / "out.npz")


def without(key):
    return lambda content: content.pop(key)


def put(key, value):
    return lambda content: content.update({key: value(content[key])})


def with_nan(array):
    array[3, 2, 1] = np.nan
    return array


@pytest.mark.parametrize(
    ("change", "fields", "sentence"),
    [
        (without("y_test"), {}, r"keys X_train y_train X_test y_test are required, y_test missing; found X_train"),
        (put("X_train", lambda x: x.astype(object)), {}, r"got pickled objects or .* never unpickled"),
        (put("y_test", lambda y: y.astype(object)), {}, r"got pickled objects or .* never unpickled"),
        (put("X_test", lambda x: x[:, 1:]), {}, r"X_test: samples of data\.window = 5 rows .* got \[10, 4, 5\]; set"),
        (put("X_train", lambda x: x.reshape(40, 25)[:, 1:]), {}, r"or \[n, 25\], got \[40, 24\]"),
        (put("y_train", lambda y: y[1:]), {}, r"y_train: a label for each of the 40 samples is required, got 39"),
        (put("y_train", lambda y: np.stack([y, y], 1)), {}, r"y_train: one label per sample is required"),
        (put("X_train", with_nan), {}, r"X_train: finite 32-bit numbers are required, got nan at \[3, 2, 1\]"),
        (put("X_train", lambda x: x.astype("U5")), {}, r"X_train: numbers are required, got <U5"),
        (put("y_test", lambda y: y * 0 + 2), {"task": "Classification"}, r"y_t\w+: classes 0 to 1 are required"),
        (put("y_train", lambda y: y[:0]), {}, r"y_train: a label for each"),
        (lambda content: content.update(mu=np.ones(3), sd=np.ones(3)), {}, r"mu: a value per feature \(5\)"),
        (lambda content: content.update(mu=np.ones(5), sd=np.ones(4)), {}, r"sd: finite numbers in the shape of mu"),
        (lambda content: content.update(X_train=content["X_train"][:0], y_train=content["y_train"][:0]), {},
         r"X_train: at least one training sample is required, got none"),
    ],
)  # fmt: skip
def test_a_mistake_says_key_and_rule(tmp_path, change, fields, sentence):
    content = arrays()
    change(content)
    with pytest.raises(DataUnavailable, match=sentence):
        opened(tmp_path, content, **fields)


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"", "cannot be read as .npz"),
        (b"hello, this is no archive at all", "arrays of numbers are required"),
        (b"PK\x03\x04 torn", "cannot be read as .npz"),
    ],
)
def test_a_file_that_is_no_npz_is_a_sentence(tmp_path, content, sentence):
    path = tmp_path / "a.npz"
    path.write_bytes(content)
    with pytest.raises(DataUnavailable, match=sentence):
        prepare(some_data(source="npz", path=str(path)), tmp_path / "cache")


def test_a_single_array_is_a_sentence(tmp_path):
    np.save(tmp_path / "a.npy", np.ones(3))
    with pytest.raises(DataUnavailable, match="got a single array"):
        prepare(some_data(source="npz", path=str(tmp_path / "a.npy")), tmp_path / "cache")
