"""Training of networks on labels that are partly wrong: what a method may change, the loop, batches and networks."""

from graphnoise.robust.training.batches import Batch
from graphnoise.robust.training.context import Context, Step
from graphnoise.robust.training.loop import Training
from graphnoise.robust.training.method import Method
from graphnoise.robust.training.networks import GCN, Network, Output, SmoothedMLP
from graphnoise.robust.training.views import View

__all__ = ["GCN", "Batch", "Context", "Method", "Network", "Output", "SmoothedMLP", "Step", "Training", "View"]
