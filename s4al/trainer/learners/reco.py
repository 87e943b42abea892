"""ReCo, regional contrast (Liu et al., arXiv 2104.04465; S4AL+ Eq. 1), without a loop over classes, queries or images.

Shape suffixes: B batch, C classes, D representation channels, H W label size, h w size at stride 4, P = B*h*w pixels,
Q queries a class, K negatives a query. An index "c" is the query's class, an "n" a negative's.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from s4al.config import ReCoConfig

_EPSILON = 1e-8  # least norm in a cosine, as in torch.nn.functional.cosine_similarity


def reco_loss(
    representation_BDhw: Tensor,
    label_BHW: Tensor,
    probability_BChw: Tensor,
    *,
    config: ReCoConfig,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Contrast uncertain pixels with their class's mean, against pixels of the classes it is easily confused with.

    For every class present in the batch, `num_queries` pixels are drawn from its hard ones, those for whose label the
    student's probability is below `strong_threshold`. The positive key is the mean over all pixels of the class. For
    every query on its own, `num_negatives` other classes are drawn with probabilities
    softmax(cos(class means) / temperature), and from each a uniformly random pixel. The loss of a class is the mean
    InfoNCE loss of its queries at the same temperature; the sum over classes is divided by the number of classes
    present, those without hard pixels included. All draws are with replacement. Gradients flow only into the queries.

    Parameters
    ----------
    representation_BDhw : any float dtype, not normalised.
    label_BHW : int64 class ids, 255 = ignore; sampled down to h x w by nearest neighbour.
    probability_BChw : softmax of the student's logits for the same images; used without gradient.
    generator : on the device of the representations; None takes torch's global one.

    Returns
    -------
    float32 scalar, computed in float32 (outside autocast, which would lower the class means); 0 where fewer than
    two classes are present or no pixel is hard. The host never waits for the device.
    """
    num_classes = probability_BChw.shape[1]
    class_P = _class_of_pixels(label_BHW, representation_BDhw.shape[-2:], num_classes)
    representation_PD = _rows(representation_BDhw.float())
    key_PD = representation_PD.detach()

    hard_P = _own_probability(probability_BChw.detach(), class_P) < config.strong_threshold
    pixels = _PixelsByClass.sort(class_P, num_classes)
    hard_pixels = _PixelsByClass.sort(torch.where(hard_P, class_P, num_classes), num_classes)
    prototype_CD = F.normalize(_class_means(key_PD, class_P, pixels.count_C), dim=1, eps=_EPSILON)

    all_classes_C = torch.arange(num_classes, device=class_P.device)
    query_class_CQ = all_classes_C[:, None].expand(-1, config.num_queries)
    query_CQD = representation_PD[hard_pixels.draw(query_class_CQ, generator)]
    query_CQD = F.normalize(query_CQD, dim=2, eps=_EPSILON)

    num_draws = config.num_queries * config.num_negatives
    weight_CC = _confusion(prototype_CD, pixels.count_C, config.temperature)
    negative_class_CQK = _draw_classes(weight_CC, num_draws, generator).view(num_classes, -1, config.num_negatives)
    index_CQK = pixels.draw(negative_class_CQK, generator)

    positive_cosine_CQ = (query_CQD * prototype_CD[:, None]).sum(dim=2)
    inverse_norm_P = 1.0 / torch.linalg.vector_norm(key_PD, dim=1).clamp(min=_EPSILON)
    negative_cosine_CQK = _DotWithKeys.apply(query_CQD, key_PD, index_CQK) * inverse_norm_P[index_CQK]
    positive_CQ1 = positive_cosine_CQ[:, :, None] / config.temperature
    negative_CQK = negative_cosine_CQK / config.temperature
    loss_C = (torch.cat([positive_CQ1, negative_CQK], dim=2).logsumexp(dim=2, keepdim=True) - positive_CQ1).mean(
        dim=(1, 2)
    )

    num_present = (pixels.count_C > 0).sum()
    counts_C = (hard_pixels.count_C > 0) & (num_present > 1)
    return torch.where(counts_C, loss_C, 0.0).sum() / num_present.clamp(min=1)


@dataclass(frozen=True)
class _PixelsByClass:
    """The pixels of a batch sorted by class, so that a uniform draw from a class needs only an offset and a count."""

    pixel_P: Tensor
    offset_C: Tensor
    count_C: Tensor

    @classmethod
    def sort(cls, class_P: Tensor, num_classes: int) -> _PixelsByClass:
        """Pixels of class `num_classes` (and above) are in no class."""
        sorted_P, pixel_P = torch.sort(class_P, stable=True)
        bound = torch.searchsorted(sorted_P, torch.arange(num_classes + 1, device=class_P.device))
        return cls(pixel_P, offset_C=bound[:-1], count_C=bound[1:] - bound[:-1])

    def draw(self, wanted: Tensor, generator: torch.Generator | None) -> Tensor:
        """For every class id in `wanted` one of its pixels, uniformly; any pixel at all for a class without pixels."""
        # In float64 u < 1 implies u * count < count after rounding, so the last pixel is never overshot.
        uniform = torch.rand(wanted.shape, dtype=torch.float64, device=wanted.device, generator=generator)
        position = self.offset_C[wanted] + (uniform * self.count_C[wanted]).long()
        return self.pixel_P[position.clamp(max=self.pixel_P.shape[0] - 1)]


class _DotWithKeys(torch.autograd.Function):
    """`out[c, q, k] = query[c, q] . key[index[c, q, k]]`, differentiable in the query.

    Gathering the keys first would write and keep C*Q*K*D floats, 369 MB for CamVid, and costs most of the loss's time.
    An embedding bag, `bag[g] = sum_k weight[g, k] * key[index[g, k]]`, never stores what it gathers. It is this
    product's gradient for the query as it stands, and the bag's own gradient for its weights is the product itself.
    """

    @staticmethod
    def forward(ctx: Any, query_CQD: Tensor, key_PD: Tensor, index_CQK: Tensor) -> Tensor:
        ctx.save_for_backward(key_PD, index_CQK)
        index_GK = index_CQK.flatten(0, 1)
        with torch.enable_grad():
            weight_GK = torch.zeros(index_GK.shape, dtype=key_PD.dtype, device=key_PD.device, requires_grad=True)
            bag_GD = F.embedding_bag(index_GK, key_PD, mode="sum", per_sample_weights=weight_GK)
        (dot_GK,) = torch.autograd.grad(bag_GD, weight_GK, query_CQD.flatten(0, 1))
        return dot_GK.view(index_CQK.shape)

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor, None, None]:
        key_PD, index_CQK = ctx.saved_tensors
        weight_GK = grad_outputs[0].flatten(0, 1)
        bag_GD = F.embedding_bag(index_CQK.flatten(0, 1), key_PD, mode="sum", per_sample_weights=weight_GK)
        return bag_GD.view(*index_CQK.shape[:2], -1), None, None


def _rows(map_BDhw: Tensor) -> Tensor:
    """(B, D, h, w) -> (P, D); a view where the memory format is channels-last."""
    return map_BDhw.permute(0, 2, 3, 1).flatten(0, 2)


def _class_of_pixels(label_BHW: Tensor, size: torch.Size, num_classes: int) -> Tensor:
    """int64 class ids at stride 4, `num_classes` where the label is to be ignored."""
    label_Bhw = F.interpolate(label_BHW[:, None].float(), size, mode="nearest")[:, 0].long()
    return torch.where(label_Bhw < num_classes, label_Bhw, num_classes).flatten()


def _own_probability(probability_BChw: Tensor, class_P: Tensor) -> Tensor:
    """Probability that the student gives to each pixel's label; anything where there is none."""
    batch, num_classes, height, width = probability_BChw.shape
    index_B1hw = class_P.clamp(max=num_classes - 1).view(batch, 1, height, width)
    return probability_BChw.gather(1, index_B1hw).flatten().float()


def _class_means(key_PD: Tensor, class_P: Tensor, count_C: Tensor) -> Tensor:
    """Mean representation of all pixels of each class; zeros for a class without pixels."""
    num_classes = count_C.shape[0]
    member_CP = class_P == torch.arange(num_classes, device=class_P.device)[:, None]
    return member_CP.to(key_PD.dtype) @ key_PD / count_C.clamp(min=1)[:, None]


def _confusion(prototype_CD: Tensor, count_C: Tensor, temperature: float) -> Tensor:
    """Class graph: row c holds exp(cos(c, n) / temperature) up to a factor, 0 where n is c or is not present."""
    cosine_CC = (prototype_CD @ prototype_CD.T).double()
    own_CC = torch.eye(len(count_C), dtype=torch.bool, device=count_C.device)
    allowed_CC = (count_C > 0) & ~own_CC
    return torch.exp((cosine_CC - 1.0) / temperature) * allowed_CC


def _draw_classes(weight_CC: Tensor, num_draws: int, generator: torch.Generator | None) -> Tensor:
    """(C, num_draws) classes, row c drawn with probabilities proportional to row c of the weights.

    Inverts the cumulative sum. torch.multinomial would stop on weights that are not finite before the caller can see
    that its loss is not, and on CUDA would take the process with it.
    """
    cumulative_CC = weight_CC.cumsum(dim=1)
    shape = (weight_CC.shape[0], num_draws)
    uniform = torch.rand(shape, dtype=torch.float64, device=weight_CC.device, generator=generator)
    # right=True passes over classes of weight 0; a row without any weight ends beyond the last class.
    drawn = torch.searchsorted(cumulative_CC, uniform * cumulative_CC[:, -1:], right=True)
    return drawn.clamp(max=weight_CC.shape[0] - 1)
