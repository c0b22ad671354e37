"""Twins: copies of networks that share their weights and run differently (compiled, probed, recomputing).

The loaded model does not change, and others can keep using it.
"""

import copy
import functools
from typing import TypeVar

from torch import nn
from torch.utils.checkpoint import checkpoint

from scorefield.nets.packed import numbered

M = TypeVar("M", bound=nn.Module)


def twin(net: M) -> M:
    """A copy of `net` with new modules and the same tensors."""
    shared = {id(tensor): tensor for tensor in (*net.parameters(), *net.buffers())}
    return copy.deepcopy(net, shared)


def compiled(net: M) -> M:
    """A twin that torch compiles on its first run with each size of input, which takes minutes.

    A size is the sides, the rows, the tokens, and whether there is a gradient. Dynamic shapes would need only one
    compilation, but torch 2.13 fails on them for U-Nets with attention at two resolutions. Other networks of the same
    shape reuse the code. A copy, such as another twin, is not compiled. Threads that first run a size at the same time
    each compile it: let one of them draw before they share the network.
    """
    made = twin(net)
    numbered(made)
    made.compile(dynamic=False)
    return made


def recomputing(net: M, *kinds: type[nn.Module]) -> M:
    """A twin whose blocks of these kinds keep only their inputs for the backward pass, and run again in it.

    The same numbers for less memory and one more forward pass (gradient checkpointing, Chen et al. 2016). Give Stage
    for a U-Net, ResBlock for a KL autoencoder. `net` may be any module that holds them, as a denoiser or a codec does.
    """
    made = twin(net)
    for block in made.modules():
        if isinstance(block, kinds):
            again = functools.partial(checkpoint, block.forward, use_reentrant=False, preserve_rng_state=False)
            block.forward = again
    return made
