"""Copies of networks that share their weights and run in another way: compiled, probed, recomputing.

So a loaded model stays what it is, and others may use it meanwhile.
"""

import copy
import functools
from typing import TypeVar

from torch import nn
from torch.utils.checkpoint import checkpoint

from scorefield.nets.packed import numbered

M = TypeVar("M", bound=nn.Module)


def twin(net: M) -> M:
    """A copy of `net` with modules of its own and the tensors of `net` themselves."""
    shared = {id(tensor): tensor for tensor in (*net.parameters(), *net.buffers())}
    return copy.deepcopy(net, shared)


def compiled(net: M) -> M:
    """A twin that torch compiles when it is first run, which takes minutes: once for each size of its input.

    A size is the sides, the rows and the tokens; with a gradient it is another. Code that is given all of these as
    numbers would be made once, but torch 2.13 fails to make it for U-Nets with attention at two resolutions. Other
    networks of the same shape have use for the code. A copy, such as another twin, is not compiled. Threads that first
    run a size at once compile it once each: let one of them draw before they share the network.
    """
    made = twin(net)
    numbered(made)
    made.compile(dynamic=False)
    return made


def recomputing(net: M, *kinds: type[nn.Module]) -> M:
    """A twin whose blocks of these kinds keep nothing but their inputs for a gradient, and run again on its way back.

    The same numbers for less memory and one forward more (Chen et al. 2016, gradient checkpointing). For a U-Net give
    Stage, for a KL autoencoder ResBlock; a module that holds either will do, as a denoiser or a codec.
    """
    made = twin(net)
    for block in made.modules():
        if isinstance(block, kinds):
            again = functools.partial(checkpoint, block.forward, use_reentrant=False, preserve_rng_state=False)
            block.forward = again
    return made
