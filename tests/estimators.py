"""What tests of the estimator share."""

import copy

import torch

SMALL = {"hidden": 32, "width": 24, "epochs": 12, "progress": False, "n_init": 1, "val_labels": "select"}


def weights(model):
    return {name: value.clone() for name, value in model.encoder_.state_dict().items()}


def same(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def altered(data, **fields):
    data = copy.copy(data)
    for name, value in fields.items():
        data[name] = value
    return data
