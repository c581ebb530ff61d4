"""A valid call of each public callable: keyword arguments, made anew for each call; cases by package."""

from tests.fuzz.cases import audit, clustering, datasets, graphs, losses, models, noise, plots, recommenders, reports

MODULES = graphs, audit, losses, models, clustering, datasets, noise, plots, recommenders, reports
CASES = {name: case for module in MODULES for name, case in module.CASES.items()}
# Results, bases and exceptions: they hold what functions return, and check nothing.
OMITTED = {
    *(
        "DataError",
        "GraphnoiseError",
        "InputError",
        "NotFittedError",
        "CollapseWarning",
        "HeterophilyWarning",
        "AmbiguousTransitionWarning",
        "Recommender",
        "Objective",
        "Sampler",
    ),
    *("Propagation", "Candidate", "Cluster", "CommunityProfile", "Diffusion", "EdgeWeights", "LabelStatistics"),
    *(
        "LabelPosterior",
        "Membership",
        "NoiseTest",
        "Growth",
        "Posterior",
        "Scores",
        "LabelPosterior",
        "BuiltGraph",
        "CatalogueRow",
        "Check",
        "FeedbackInfo",
        "GraphInfo",
        "LabelsInfo",
        "Estimate",
    ),
    *(
        "NoisyInteractions",
        "NoisyLabels",
        "Cleaned",
        "CleaningTrial",
        "Comparison",
        "Credibility",
        "Evaluation",
        "Split",
        "Derivatives",
    ),
    *("ExchangeRate", "Frontier", "PruningCurve", "RankStability"),
    *("ClickAudit", "Pairs", "FalseNegatives", "SimulatedNoise", "SimulatedSplit"),
    # Downloads.
    "get",
}
