"""Parameters of objectives and samplers: defaults, as published or documented, and ranges."""

import inspect

import pytest

from graphnoise.errors import InputError
from recsys.objectives import OBJECTIVES, objective
from recsys.samplers import SAMPLERS, sampler

SHOWN = {
    "objectives": """
        BPR()
        WBPR()
        DislikeBPR(dislike_weight=5.0)
        BPO()
        Hinge()
        NBPO(flip_rate=None, by='item')
        NBPOo(flip_rate=None, by='item')
        NBPOs(flip_rate=None, by='item')
        NBPOEM(flip_rate=None, by='item')
        TruncatedCE(drop_rate=0.2, ramp=30000, exponent=1.0, of='positives')
        ReweightedCE(alpha=0.25)
        DeCA(alpha=1.0, c1=1000.0, c2=10.0, direction='both')
        RelevanceMF(power=0.5, clip=0.1)
        UnbiasedBPR(power=0.5, clip=0.1)
        DoublyRobust(power=0.5, clip=0.1)
        NonNegativePU(prior=0.2, beta=0.0, gamma=1.0)
        Forward(false_negative_rate=0.0, false_positive_rate=0.0)
        Backward(false_negative_rate=0.0, false_positive_rate=0.0)
        SampledSoftmax(temperature=1.0, correct=True)
        SymmetricSoftmax(temperature=1.0, correct=True, smoothing=0.1)""",
    "samplers": """
        Uniform(dislike_share=0.0, on_known='redraw', verify=True, attempts=16, num_threads=1)
        Popularity(power=1.0, on_known='redraw', verify=True, attempts=16, num_threads=1)
        DNS(candidates=10, verify=True, attempts=16, num_threads=1)
        DNSMN(top=2, candidates=200, reading='one', verify=True, attempts=16, num_threads=1)
        WARP(tries=10, num_threads=1)
        AOBPR(scale=200.0, attempts=16, num_threads=1)
        SRNS(size=20, alpha=1.0, temperature=1.0, pool=200, history=5, warm_up=10, attempts=16, num_threads=1)
        AHNS(candidates=32, alpha=1.0, beta=0.1, power=-2.0, verify=True, attempts=16, num_threads=1)
        AdaSIR(candidates=200, pool=50, temperature=1.0, attempts=16, num_threads=1)
        BNS(candidates=5, weight=5.0, reference=100, verify=True, attempts=16, num_threads=1)
        InBatch(verify=True, attempts=16)""",
}
# By parameter, or by class and parameter where classes differ.
RANGES = {
    "an integer of at least 1": ["ramp", "candidates", "tries", "size", "pool", "warm_up", "reference"],
    "an integer of at least 2": ["history"],
    "an integer from 1 to 200": ["top"],
    "an integer from 1 to 30": ["attempts"],
    "an integer from 0 to 1024": ["num_threads"],
    "a finite number": ["AHNS.alpha", "AHNS.beta", "AHNS.power"],
    "a number of at least 0": [
        "exponent",
        "ReweightedCE.alpha",
        "SRNS.alpha",
        "c1",
        "c2",
        "power",
        "beta",
        "weight",
        "dislike_weight",
    ],
    "a number of at least 0.001": ["scale"],
    "a number of at least 1e-06": ["temperature"],
    "a number in [1e-06, 1]": ["clip"],
    "a number in [0, 8]": ["Popularity.power"],
    "a rate in [0, 1]": [
        "dislike_share",
        "drop_rate",
        "smoothing",
        "prior",
        "gamma",
        "DeCA.alpha",
        "false_negative_rate",
        "false_positive_rate",
    ],
    "numbers": ["flip_rate"],
    "one of batch, positives": ["of"],
    "one of both, negatives, positives": ["direction"],
    "one of item, user": ["by"],
    "one of redraw, skip": ["on_known"],
    "one of all, one": ["reading"],
    "True or False": ["verify", "correct"],
}
EXPECTED = {parameter: words for words, parameters in RANGES.items() for parameter in parameters}
KINDS = dict.fromkeys(OBJECTIVES.values(), objective) | dict.fromkeys(SAMPLERS.values(), sampler)
# Values that are no default, by range.
OTHER = {
    **dict.fromkeys(("an integer of at least 1", "an integer of at least 2", "an integer from 1 to 200"), 3),
    **dict.fromkeys(("an integer from 1 to 30", "an integer from 0 to 1024"), 2),
    "a number of at least 0.001": 0.3,
    "a number of at least 1e-06": 0.3,
    "a number of at least 0": 0.3,
    "a number in [1e-06, 1]": 0.3,
    "a number in [0, 8]": 0.3,
    "a finite number": 0.3,
    "a rate in [0, 1]": 0.3,
    "numbers": 0.3,
    "one of batch, positives": "batch",
    "one of both, negatives, positives": "negatives",
    "one of item, user": "user",
    "one of redraw, skip": "skip",
    "one of all, one": "all",
    "True or False": False,
}
# Parameters without a default.
REQUIRED = {"nnpu": {"prior": 0.2}}


def test_defaults():
    for family, kinds in (("objectives", OBJECTIVES), ("samplers", SAMPLERS)):
        shown = [repr(kind(**REQUIRED.get(name, {}))) for name, kind in kinds.items()]
        assert shown == SHOWN[family].split("\n        ")[1:]


def expected(kind, parameter):
    return EXPECTED.get(f"{kind.__name__}.{parameter}") or EXPECTED[parameter]


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_values_are_kept(kind):
    values = {parameter: OTHER[expected(kind, parameter)] for parameter in inspect.signature(kind).parameters}
    assert kind(**values).parameters() == {"name": kind.name, **values}


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_a_wrong_value_is_named_with_the_range(kind):
    required = REQUIRED.get(kind.name, {})
    for parameter in inspect.signature(kind).parameters:
        for call in (kind, lambda **values: KINDS[kind]({"name": kind.name, **values})):
            with pytest.raises(InputError) as error:
                call(**required | {parameter: (value := object())})
            got = "values of type object" if parameter == "flip_rate" else repr(value)
            assert str(error.value) == f"{parameter}: expected {expected(kind, parameter)}, got {got}"
