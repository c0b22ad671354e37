"""What can go wrong in a training run; each message is one line."""

from scorefield.errors import MachineError


class TrainError(MachineError):
    """A run cannot start or go on; the message says why and what to do."""


class NonFiniteError(TrainError):
    """The loss or the gradient of one step is not finite; the weights are still those of the step before."""

    def __init__(self, step: int, loss: float, grad_norm: float) -> None:
        super().__init__(
            f"step {step}: loss {loss:g}, gradient norm {grad_norm:g}; nothing of this step was kept, "
            "lower the learning rate or look at the data of this step"
        )
        self.step = step
