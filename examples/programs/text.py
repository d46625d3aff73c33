"""Tells which package of Python's library a docstring is from: a trainer class with callbacks, one for Trialrun."""

import ast
import hashlib
import re
import sysconfig
from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import nn

import trialrun  # 1

PACKAGES = ("asyncio", "email", "unittest", "xml")
DEFINITIONS = (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
MOST_WORDS = 60


@dataclass
class TrainingArguments:
    """What a training is told."""

    learning_rate: float = 0.01
    width: int = 32
    epochs: int = 5
    batch_size: int = 32


class Callback:
    """Hears of a training."""

    def on_epoch_begin(self, trainer):
        """An epoch is about to begin."""

    def on_evaluate(self, trainer, metrics):
        """An epoch has ended; true to stop the training."""


class TrialrunCallback(Callback):  # 2
    """Goes on from the latest checkpoint, leaves one before each epoch, and reports after it."""  # 3

    def __init__(self, trial):  # 4
        self.trial = trial  # 5

    def on_epoch_begin(self, trainer):  # 6
        if trainer.epoch == 0 and self.trial.checkpoints:  # 7
            trainer.load(self.trial.checkpoints[0] / "text.pt")  # 8
        trainer.save(self.trial.folder / "text.pt")  # 9

    def on_evaluate(self, trainer, metrics):  # 10
        return self.trial.report(trainer.epoch, metrics)  # 11


class Classifier(nn.Module):
    """The mean of the words' vectors, and a layer on top."""

    def __init__(self, words, width):
        super().__init__()
        self.vectors = nn.EmbeddingBag(words, width, padding_idx=0)
        self.layer = nn.Linear(width, len(PACKAGES))

    def forward(self, words):
        return self.layer(self.vectors(words))


class Trainer:
    """Trains a model, evaluates it after each epoch, and tells its callbacks."""

    def __init__(self, model, arguments, train, valid, callbacks=()):
        self.model, self.arguments, self.callbacks = model, arguments, callbacks
        self.train, self.valid = train, valid
        self.optimizer = torch.optim.Adam(model.parameters(), lr=arguments.learning_rate)
        self.epoch = 0

    def fit(self):
        while self.epoch < self.arguments.epochs:
            for callback in self.callbacks:
                callback.on_epoch_begin(self)
            words, labels = self.train
            order = torch.randperm(len(words), generator=torch.Generator().manual_seed(self.epoch))
            for batch in order.split(self.arguments.batch_size):
                self.optimizer.zero_grad()
                nn.functional.cross_entropy(self.model(words[batch]), labels[batch]).backward()
                self.optimizer.step()
            metrics = self.evaluate()
            stops = [callback.on_evaluate(self, metrics) for callback in self.callbacks]
            if any(stops):
                return
            self.epoch += 1

    @torch.no_grad()
    def evaluate(self):
        words, labels = self.valid
        scores = self.model(words)
        right = (scores.argmax(1) == labels).float().mean()
        return {"eval/loss": nn.functional.cross_entropy(scores, labels).item(), "eval/accuracy": right.item()}

    def save(self, file):
        """Writes beside the file first: who is killed meanwhile leaves the one before."""
        half = file.with_suffix(".half")
        state = {"epoch": self.epoch, "model": self.model.state_dict(), "optimizer": self.optimizer.state_dict()}
        torch.save(state, half)
        half.replace(file)

    def load(self, file):
        """Goes on from a file, where it is there."""
        if file.exists():
            state = torch.load(file)
            self.epoch = state["epoch"]
            self.model.load_state_dict(state["model"])
            self.optimizer.load_state_dict(state["optimizer"])


def docstrings():
    """Every docstring of the packages with its package's number; each once, in the same order everywhere."""
    library = Path(sysconfig.get_path("stdlib"))
    found = {}
    for number, package in enumerate(PACKAGES):
        for file in sorted((library / package).rglob("*.py")):
            if "test" in file.relative_to(library).parts:
                continue
            for node in documented(ast.parse(file.read_bytes())):
                found.setdefault(ast.get_docstring(node), number)
    found.pop(None)
    return sorted(found.items(), key=lambda item: hashlib.sha256(item[0].encode()).digest())


def documented(node):
    """A module, its classes and functions, and theirs."""
    yield node
    for inner in node.body:
        if isinstance(inner, DEFINITIONS):
            yield from documented(inner)


def tensors(samples, vocabulary):
    """Docstrings as numbers of words, 0 where there is none, and their labels."""
    words = torch.zeros(len(samples), MOST_WORDS, dtype=torch.long)
    for i, (text, _) in enumerate(samples):
        known = [vocabulary[word] for word in split(text) if word in vocabulary][:MOST_WORDS]
        words[i, : len(known)] = torch.tensor(known, dtype=torch.long)
    return words, torch.tensor([label for _, label in samples])


def split(text):
    return re.findall(r"[a-z]+", text.lower())


def fingerprint(samples):
    return hashlib.sha256(repr(samples).encode()).hexdigest()


def main():
    trial = trialrun.trial(**asdict(TrainingArguments()))  # 12
    arguments = TrainingArguments(**trial.parameters)  # 13
    torch.manual_seed(trial.seed)
    torch.set_num_threads(1)  # for so small a network more only wait for each other
    samples = docstrings()
    valid, train = samples[: len(samples) // 4], samples[len(samples) // 4 :]
    counts = Counter(word for text, _ in train for word in split(text))
    vocabulary = {word: i for i, (word, count) in enumerate(counts.most_common(2000), start=1) if count > 1}
    most = Counter(label for _, label in train).most_common(1)[0][0]
    trial.naive({"eval/accuracy": sum(label == most for _, label in valid) / len(valid)})  # 14
    trial.rests_on(data=fingerprint(train), validation=fingerprint(valid))  # 15
    model = Classifier(len(vocabulary) + 1, arguments.width)
    data = tensors(train, vocabulary), tensors(valid, vocabulary)
    Trainer(model, arguments, *data, [TrialrunCallback(trial)]).fit()


if __name__ == "__main__":
    main()
