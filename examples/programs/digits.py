"""A convolutional network on the digits that scikit-learn ships, with five lines for Trialrun."""

import torch
from sklearn.datasets import load_digits
from torch import nn

import trialrun  # 1

trial = trialrun.trial(lr=0.01, channels=8, optimizer="Adam", momentum=0.0, epochs=5)  # 2
settings = trial.parameters

torch.manual_seed(trial.seed)
digits = load_digits()
images = torch.tensor(digits.images, dtype=torch.float32).unsqueeze(1) / 16
labels = torch.tensor(digits.target)
order = torch.randperm(len(images), generator=torch.Generator().manual_seed(0))
train, valid = order[:1400], order[1400:]

model = nn.Sequential(
    nn.Conv2d(1, settings["channels"], 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(),
    nn.Linear(settings["channels"] * 16, 10),
)  # fmt: skip
if settings["optimizer"] == "SGD":
    optimizer = torch.optim.SGD(model.parameters(), lr=settings["lr"], momentum=settings["momentum"])
else:
    optimizer = torch.optim.Adam(model.parameters(), lr=settings["lr"])

trial.naive({"val/accuracy": (labels[valid] == labels[train].mode().values).float().mean()})  # 3
for epoch in range(settings["epochs"]):
    for batch in train[torch.randperm(len(train))].split(64):
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(model(images[batch]), labels[batch])
        loss.backward()
        optimizer.step()
    with torch.no_grad():
        right = (model(images[valid]).argmax(1) == labels[valid]).float().mean()
    if trial.report(epoch, {"val/accuracy": right, "train/loss": loss}):  # 4
        break  # 5
