"""Boosted trees on the tumours that scikit-learn ships. Its options set it; Trialrun is only told how it goes."""

import argparse

import joblib
from sklearn.datasets import load_breast_cancer
from sklearn.dummy import DummyClassifier
from sklearn.ensemble import GradientBoostingClassifier
from sklearn.metrics import log_loss
from sklearn.model_selection import train_test_split

import trialrun  # 1

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--lr", type=float, default=0.1)
parser.add_argument("--depth", type=int, default=3)
parser.add_argument("--stages", type=int, default=5, help="of ten trees each")
options = parser.parse_args()

x, y = load_breast_cancer(return_X_y=True)
x_train, x_valid, y_train, y_valid = train_test_split(x, y, test_size=0.3, random_state=0, stratify=y)

trial = trialrun.trial()  # 2
guess = DummyClassifier(strategy="prior").fit(x_train, y_train)
trial.naive(logloss=log_loss(y_valid, guess.predict_proba(x_valid)))  # 3
trial.rests_on(data=joblib.hash((x_train, y_train)), validation=joblib.hash((x_valid, y_valid)))  # 4

model = GradientBoostingClassifier(learning_rate=options.lr, max_depth=options.depth, warm_start=True, random_state=0)
for stage in range(1, options.stages + 1):
    model.set_params(n_estimators=10 * stage)
    model.fit(x_train, y_train)
    loss = log_loss(y_valid, model.predict_proba(x_valid))
    if trial.report(stage, logloss=loss, accuracy=model.score(x_valid, y_valid)):  # 5
        break  # 6
