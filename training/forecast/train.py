"""Trains a forecaster of yearly sunspot numbers: softmax attention over a window of years, on the series of statsmodels.

Usage: python train.py    (about a minute; writes ../../models/forecast.*)

statsmodels.datasets.sunspots is public domain: yearly means 1700 to 2008 (NOAA National Geophysical Data Center).
"""

import sys
from pathlib import Path

import numpy as np
import statsmodels.api as sm
import torch
from torch import nn

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
import onnx_files  # noqa: E402

MODELS = Path(__file__).resolve().parents[2] / "models"
WINDOW = 36  # three cycles of the sun
SCALE = 100.0
FIRST_VALIDATION, FIRST_TEST = 1910, 1930


class Forecast(nn.Module):
    """A linear forecast from the window, corrected by attention: y = a x + sum_i w_i f(x_i). A convolution sees the years
    around each one, softmax over the window weighs them."""

    def __init__(self, channels=16, kernel=11):
        super().__init__()
        self.features = nn.Conv1d(1, channels, kernel)
        self.position = nn.Parameter(0.1 * torch.randn(1, WINDOW - kernel + 1, channels))
        self.score = nn.Linear(channels, 1)
        self.value = nn.Linear(channels, channels)
        self.head = nn.Linear(channels, 1)
        self.linear = nn.Linear(WINDOW, 1)
        nn.init.zeros_(self.linear.weight)
        nn.init.zeros_(self.head.weight)

    def forward(self, x):
        f = torch.tanh(self.features(x.transpose(1, 2)).transpose(1, 2) + self.position)
        weights = torch.softmax(self.score(f), dim=1)
        return self.linear(x.flatten(1)) + self.head((weights * self.value(f)).sum(dim=1))


def windows(years, values):
    """For each year with a whole window before it: the window, the year's value, and the year."""
    at = range(WINDOW, len(values))
    x = np.stack([values[i - WINDOW : i] for i in at])[..., None].astype(np.float32)
    return x, values[WINDOW:].astype(np.float32), years[WINDOW:]


def regression(x, y, lags=9):
    """Weights of the last years, and the constant, with least squared error."""
    rows = np.concatenate([x[:, -lags:, 0], np.ones((len(x), 1))], axis=1)
    return np.linalg.lstsq(rows, y, rcond=None)[0]


def train(x, y, x_validation, y_validation, seed):
    """Attention learns what the regression on nine years leaves; its weights stay as they are."""
    torch.manual_seed(seed)
    model = Forecast()
    *lags, constant = regression(x.numpy(), y.numpy())
    with torch.no_grad():
        model.linear.weight[0, -len(lags) :] = torch.tensor(lags)
        model.linear.bias[0] = float(constant)
    model.linear.requires_grad_(False)
    optimizer = torch.optim.AdamW(model.parameters(), 3e-3, weight_decay=1e-1)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 600)
    best, kept = np.inf, None
    for _ in range(600):
        model.train()
        optimizer.zero_grad()
        # Cycles to come may be weaker or stronger than those seen.
        strength = torch.empty(len(x), 1, 1).uniform_(0.6, 1.6)
        noisy = strength * (x + 0.08 * torch.randn_like(x))
        loss = nn.functional.mse_loss(model(noisy)[:, 0], strength[:, 0, 0] * y)
        loss.backward()
        optimizer.step()
        schedule.step()
        model.eval()
        with torch.no_grad():
            error = nn.functional.mse_loss(model(x_validation)[:, 0], y_validation).item()
        if error < best:
            best, kept = error, {k: v.clone() for k, v in model.state_dict().items()}
    model.load_state_dict(kept)
    return best, model


def main():
    torch.set_num_threads(1)
    data = sm.datasets.sunspots.load_pandas().data
    years = data["YEAR"].to_numpy().astype(int)
    x, y, years = windows(years, data["SUNACTIVITY"].to_numpy() / SCALE)
    part = lambda chosen: (torch.from_numpy(x[chosen]), torch.from_numpy(y[chosen]))
    validation = (years >= FIRST_VALIDATION) & (years < FIRST_TEST)
    training, test = years < FIRST_VALIDATION, years >= FIRST_TEST
    best, model = min(
        (train(*part(training), *part(validation), seed) for seed in range(5)), key=lambda run: run[0]
    )
    model.eval()
    with torch.no_grad():
        forecast = model(part(test)[0])[:, 0].numpy()
    rmse = lambda error: SCALE * float(np.sqrt(np.mean(error**2)))
    print(f"validation RMSE {rmse(np.sqrt(best)):.2f}, test RMSE {rmse(forecast - y[test]):.2f}")
    print(f"last year's value as the forecast: {rmse(x[test][:, -1, 0] - y[test]):.2f}")
    *lags, constant = regression(x[training], y[training])
    print(f"linear regression on nine years: {rmse(x[test][:, -9:, 0] @ lags + constant - y[test]):.2f}")
    onnx_files.export(model, (torch.from_numpy(x[:1]),), MODELS / "forecast.onnx", True, ["x"], ["forecast"])
    np.savez(MODELS / "forecast_calibration.npz", x=np.concatenate([x[training][::2], 1.6 * x[training][::4]]))
    np.savez(MODELS / "forecast_test.npz", x=x[test], y=y[test])


if __name__ == "__main__":
    main()
