"""`graphnoise audit --clicks`: clicks that look like mistakes, and likely hidden likes, as tables in a folder."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from graphnoise.cli.console import Bar, bad, out, wide

if TYPE_CHECKING:
    from recsys import Interactions


def audit_clicks_command(
    source: str,
    folder: Path,
    *,
    user: str = "user",
    item: str = "item",
    truth: str | None = None,
    rating: str | None = None,
    low_rating: float | None = None,
    duplicates: str = "error",
    scorer: str = "stacked",
    popularity: float = 0.0,
    top: int = 20,
    seed: int = 0,
    show: int = 10,
    root: str | None = None,
) -> None:
    """Audit the clicks of a table or a data set; write the tables into a folder and print the most suspicious clicks.

    Args:
        source: A CSV, TSV or Parquet file, or the name of a data set, whose training part is read.
        folder: Where `clicks.csv`, `clicks.jsonl`, `hidden-likes.csv`, `users.csv` and `items.csv` go.
        user: Column of the user ids.
        item: Column of the item ids.
        truth: Column of what is known: 1 for a mistake, 0 for a like; the AUC is printed then.
        rating: Column of ratings, for `low_rating`; data sets have them.
        low_rating: Clicks rated this or less count as true mistakes; instead of `truth`.
        duplicates: Of repeated pairs, "error", or the "first" or "last" row counts.
        scorer: One of `recsys.click_audit.SCORERS`.
        popularity: Exponent of popularity that mistakes are assumed to follow, 0 for clicks at random.
        top: Hidden likes per user.
        seed: Seed of all draws.
        show: Number of clicks to print.
        root: Folder of raw data sets.

    Raises:
        InputError: A column, a value or an option that does not fit; or as `recsys.audit_clicks`.
        DataError: A file that is absent or damaged, or a folder that cannot be written.
    """
    from graphnoise.checks import choice, integer
    from graphnoise.io import atomic_write, check_writable
    from recsys import audit_clicks
    from recsys.click_audit import SCORERS

    choice("scorer", scorer, SCORERS)
    show, seed = integer("show", show, 0), integer("seed", seed, 0)
    names = ("clicks.csv", "clicks.jsonl", "hidden-likes.csv", "users.csv", "items.csv")
    for name in names:
        check_writable(folder / name)
    with Bar("reading") as bar:
        clicks, wrong = _read(source, user, item, truth, rating, low_rating, duplicates, root)
        audit = audit_clicks(
            clicks, truth=wrong, scorer=scorer, popularity=popularity, top=top, seed=seed,
            progress=lambda done, total, text: bar.show(done, total, text, "steps"),
        )  # fmt: skip
        bar.say("writing")
        folder.mkdir(parents=True, exist_ok=True)
        lines = audit.suspects.to_json(orient="records", lines=True, double_precision=6)
        tables = (audit.suspects, None, audit.hidden_likes, audit.users, audit.items)
        for name, table in zip(names, tables, strict=True):
            text = lines if table is None else table.to_csv(index=False, float_format="%.6g", lineterminator="\n")
            with atomic_write(folder / name) as file:
                file.write(text.encode())
    if show:
        wide(_table(audit.suspects.head(show)))
    out.print(audit.summary(), soft_wrap=True)
    out.print(f"wrote {', '.join(names)} to {folder}", soft_wrap=True)


def _read(
    source: str,
    user: str,
    item: str,
    truth: str | None,
    rating: str | None,
    low_rating: float | None,
    duplicates: str,
    root: str | None,
) -> tuple[Interactions, Any]:
    """Return clicks, and which are true mistakes, or None."""
    from graphnoise.checks import InputError, real, renamed
    from recsys import Split, datasets

    if truth is not None and low_rating is not None:
        bad("--low-rating", "none together with --truth", low_rating)
    if source in datasets.names() and not Path(source).exists():
        given = {"truth": (truth, None), "rating": (rating, None), "user": (user, "user"), "item": (item, "item")}
        for option, (value, default) in (given | {"duplicates": (duplicates, "error")}).items():
            if value != default:
                bad(f"--{option}", "none for a data set by name", value)
        loaded = datasets.load(source, root)
        clicks = loaded.train if isinstance(loaded, Split) else loaded
    else:
        if (rating is None) != (low_rating is None):
            bad("--rating", "the column of ratings, together with --low-rating", rating)
        try:
            clicks = datasets.read_table(source, user, item, truth or rating, duplicates=duplicates)
        except InputError as error:
            value = "--rating" if truth is None else "--truth"
            options = {"path": "--clicks", "user": "--user", "item": "--item", "rating": value}
            raise InputError(renamed(str(error), options)) from error
        if clicks.dislikes is not None:
            bad("--rating" if truth is None else "--truth", "numbers of at least 0", "negative ones")
    if low_rating is None:
        return clicks, clicks.ratings if truth is not None else None
    if clicks.ratings is None:
        bad("--low-rating", f"none, since {source} has no ratings", low_rating)
    return clicks, clicks.ratings <= real("--low-rating", low_rating)


def _table(clicks: Any) -> Any:
    """Return a table of the most suspicious clicks."""
    from graphnoise.bench.report import plain_table

    table = plain_table()
    for column in clicks.columns:
        table.add_column("P(mistake)" if column == "mistake" else column, justify="right")
    for row in clicks.to_dict("records"):
        table.add_row(*(f"{value:.3f}" if name == "mistake" else str(value) for name, value in row.items()))
    return table
