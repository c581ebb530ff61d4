"""Credibility of clicks in Spark data frames from the similarity of items, and removal of the least credible."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from graphnoise import checks
from graphnoise.spark import checked_table, id_type

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

# Bits of `monotonically_increasing_id` that count rows within a partition.
ROW_BITS = 33


@dataclass(frozen=True)
class SparkCleaned:
    """Clicks after `clean`.

    Attributes:
        clicks: The remaining rows, with all of their columns.
        removed: The removed rows.
    """

    clicks: DataFrame
    removed: DataFrame


def credibility(
    clicks: DataFrame, *, user: str = "user", item: str = "item", neighbours: int | None = None
) -> DataFrame:
    r"""Return how similar the item of each click is to the other items of its user, computed without that click.

    With n_i users of the item i and c_ij users of both i and j, the credibility of the click (u, i) is the mean over
    the other items j of u of

        (c_ij - 1) / sqrt((n_i - 1) n_j),   0 where n_i = 1,

    the cosine similarity that i and j would have if u had not clicked i. This is the score of `recsys.ItemKNN` that was
    fitted without the click, over the number of the user's other items. It is a score in [0, 1] that is lower for less
    credible clicks, not a probability: `recsys.credibility` estimates one, from positions among unobserved items.

    A user with k items costs k² rows of a shuffle: leave out the busiest (robots) first.

    Args:
        clicks: A row per click; repeated ones count once. Ids are integers or text.
        user: Column of users.
        item: Column of items.
        neighbours: Only the most similar items j of each item i count, by c_ij / sqrt(n_i n_j) over all clicks, ties to
            the lower item; None: all.

    Returns:
        A lazy data frame with a row per click: user, item (named as in `clicks`) and `credibility`, null for the only
        item of a user.

    Raises:
        InputError: No PySpark; a column that is absent or of another type; null in an id; neighbours below 1.

    Example:
        >>> from pyspark.sql import SparkSession  # doctest: +SKIP
        >>> spark = SparkSession.builder.master("local[1]").getOrCreate()  # doctest: +SKIP
        >>> pairs = [(u, i) for u in (1, 2, 3) for i in ("tea", "milk")] + [(1, "tyres")]  # doctest: +SKIP
        >>> found = credibility(spark.createDataFrame(pairs, ["user", "item"]))  # doctest: +SKIP
        >>> [(row.item, round(row.credibility, 3)) for row in found.where("user = 1").orderBy("item").collect()]
        ...     # doctest: +SKIP
        [('milk', 0.408), ('tea', 0.408), ('tyres', 0.0)]

    Source: Sarwar et al., "Item-based collaborative filtering recommendation algorithms", 2001, for the similarity.
    """
    kept = None if neighbours is None else checks.integer("neighbours", neighbours, 1)
    distinct = _pairs("clicks", clicks, {"user": user, "item": item}).distinct()
    from pyspark.sql import Window
    from pyspark.sql import functions as F

    other = distinct.withColumnRenamed("item", "other")
    pairs = distinct.join(other, "user").where("item != other")
    users = distinct.groupBy("item").agg(F.count("*").cast("double").alias("n"))
    both = pairs.groupBy("item", "other").agg(F.count("*").cast("double").alias("c"))
    both = both.join(users, "item").join(users.select(F.col("item").alias("other"), F.col("n").alias("m")), "other")
    if kept is not None:
        nearest = Window.partitionBy("item").orderBy((F.col("c") / F.sqrt(F.col("n") * F.col("m"))).desc(), "other")
        both = both.withColumn("rank", F.row_number().over(nearest)).where(F.col("rank") <= kept)
    # An item of one user has no other user in common with any.
    similarity = F.when(F.col("n") > 1, (F.col("c") - 1) / F.sqrt((F.col("n") - 1) * F.col("m"))).otherwise(0.0)
    both = both.select("item", "other", similarity.alias("s"))
    scores = pairs.join(both, ["item", "other"], "left").groupBy("user", "item")
    found = distinct.join(scores.agg(F.avg(F.coalesce("s", F.lit(0.0))).alias("credibility")), ["user", "item"], "left")
    return found.select(F.col("user").alias(user), F.col("item").alias(item), "credibility")


def clean(
    clicks: DataFrame,
    credibility: DataFrame,
    *,
    threshold: float | None = None,
    share: float | None = None,
    user: str = "user",
    item: str = "item",
) -> SparkCleaned:
    """Return clicks without the least credible ones; those whose credibility is null stay.

    Args:
        clicks: The clicks of `credibility`.
        credibility: Its result, which is computed here once.
        threshold: Less credible clicks are removed.
        share: nearest(share · clicks) are removed, the least credible; among equals those of the lower user, then item.
            Clicks count without repetition.
        user: Column of users in both.
        item: Column of items in both.

    Raises:
        InputError: Neither or both of `threshold` and `share`, a value outside [0, 1], other clicks, or an empty
            result.

    Example:
        >>> from pyspark.sql import SparkSession  # doctest: +SKIP
        >>> spark = SparkSession.builder.master("local[1]").getOrCreate()  # doctest: +SKIP
        >>> pairs = [(u, i) for u in (1, 2, 3) for i in ("tea", "milk")] + [(1, "tyres")]  # doctest: +SKIP
        >>> clicks = spark.createDataFrame(pairs, ["user", "item"])  # doctest: +SKIP
        >>> clean(clicks, credibility(clicks), share=0.15).removed.collect()  # doctest: +SKIP
        [Row(user=1, item='tyres')]
    """
    observed = _pairs("clicks", clicks, {"user": user, "item": item})
    scored = _pairs("credibility", credibility, {"user": user, "item": item, "credibility": "credibility"})
    if (threshold is None) == (share is None):
        checks.fail("threshold, share", "one of them", "both" if share is not None else "none")
    limit = checks.rate("threshold", threshold) if share is None else checks.rate("share", share)
    from pyspark.sql import functions as F

    # Each order takes its partitions from a sample, so that it is computed once.
    scored = scored.orderBy(F.col("credibility").asc_nulls_last(), "user", "item")
    scored = scored.withColumn("place", F.monotonically_increasing_id()).localCheckpoint()
    unknown = observed.join(scored, ["user", "item"], "left_anti")
    if not unknown.isEmpty() or not scored.join(observed, ["user", "item"], "left_anti").isEmpty():
        checks.fail("clicks", "those that credibility was asked about", "others")
    below = F.col("credibility") < limit
    if share is not None:
        sizes = dict(scored.groupBy(F.shiftright("place", ROW_BITS)).count().collect())
        below = F.col("credibility").isNotNull() & (F.col("place") < _bound(sizes, round(limit * sum(sizes.values()))))
    if scored.where(~F.coalesce(below, F.lit(False))).isEmpty():
        checks.fail("threshold" if share is None else "share", "one that leaves a click", limit)
    names = [F.col("user").alias(user), F.col("item").alias(item)]
    removed = scored.where(below).select(names)
    return SparkCleaned(*(clicks.join(removed, [user, item], kind) for kind in ("left_anti", "left_semi")))


def _bound(sizes: Mapping[int, int], number: int) -> int:
    """Return the id that as many rows are below; `sizes` has the number of rows by partition."""
    before = 0
    for partition in sorted(sizes):
        if number <= before + sizes[partition]:
            return (partition << ROW_BITS) + number - before
        before += sizes[partition]
    return 0


def _pairs(name: str, frame: Any, columns: Mapping[str, str]) -> DataFrame:
    """Return the columns of users, items and others under the names of the arguments, ids checked."""
    pairs = checked_table(name, frame, columns)
    for key in ("user", "item"):
        id_type({f"{name}.{key}": pairs})
    null = pairs.where("user is null or item is null").count()
    if null:
        checks.fail(name, "a user and an item in every row", f"{null} rows with null")
    return pairs
