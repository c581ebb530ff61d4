"""Types of the compiled module. Arrays are passed as addresses (0: none) that the caller checks and keeps alive."""

def draw_negatives(
    threads: int,
    rowptr: int,
    col: int,
    bits: int,
    words: int,
    items: int,
    table: int,
    weight: int,
    key: int,
    first: int,
    users: int,
    rows: int,
    each: int,
    attempts: int,
    verify: bool,
    redraw: bool,
    out: int,
    /,
) -> None: ...
def alias_table(weight: int, items: int, table: int, /) -> None: ...
def known_bits(threads: int, rowptr: int, col: int, users: int, words: int, bits: int, /) -> None: ...
def pair_scores_float32(
    threads: int,
    left: int,
    right: int,
    width: int,
    bias: int,
    users: int,
    items: int,
    rows: int,
    each: int,
    out: int,
    /,
) -> None: ...

pair_scores_float64 = pair_scores_float32

def adam_float32(
    count: int,
    rows: int,
    gradient: int,
    counts: int,
    width: int,
    table: int,
    first: int,
    second: int,
    l2: float,
    beta1: float,
    beta2: float,
    scale: float,
    correction: float,
    eps: float,
    /,
) -> None: ...

adam_float64 = adam_float32

def group(ids: int, count: int, bound: int, row: int, start: int, order: int, /) -> int: ...
def grouped_sums_float32(
    threads: int,
    groups: int,
    start: int,
    order: int,
    other: int,
    weight: int,
    table: int,
    width: int,
    out: int,
    /,
) -> None: ...

grouped_sums_float64 = grouped_sums_float32

class Setting:
    set: str
    threads: int
    rule: int
    blocks: int
    attempts: int
    user: int
    item: int
    bias: int
    flip_user: int
    flip_item: int
    step: float
    decay_user: float
    decay_positive: float
    decay_negative: float
    decay_bias: float
    decay_flip: float
    flip_rate: float
    rowptr: int
    col: int
    bits: int
    words: int
    key: int
    def __init__(self) -> None: ...

def epoch_lock_free(
    setting: Setting, pairs: int, size: int, table: int, items: int, each: int, chunks: int, /
) -> tuple[int, int]: ...
def epoch_blocks(
    setting: Setting,
    count: int,
    user: int,
    user_start: int,
    item: int,
    item_start: int,
    item_block: int,
    weight: int,
    table: int,
    each: int,
    round: int,
    last_round: int,
    first: int,
    last: int,
    at_once: int,
    /,
) -> tuple[int, int]: ...
def instruction_sets() -> list[str]: ...
def sigmoids(instruction_set: str, x: int, count: int, out: int, /) -> None: ...
